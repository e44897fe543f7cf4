// One agent's conversation, folded: unpacked when it is looked at, and drawn a part at a time.

const AT_ONCE = 80;

function conversation(agent) {
  const box = h("div", { class: "talk" }, "…");
  unpack(agent.messages).then((items) => {
    box.replaceChildren();
    if (!items.length) box.append(h("p", { class: "hint" }, "Nothing was said."));
    let next = 0;
    const more = h("button", { type: "button", class: "more" });
    const add = () => {
      more.remove();
      box.append(...items.slice(next, next + AT_ONCE).map(message));
      next += AT_ONCE;
      if (next < items.length) {
        more.textContent = `Show more: ${items.length - next} are left`;
        box.append(more);
      }
    };
    more.addEventListener("click", add);
    add();
    box.dataset.ready = "true";
  });
  return box;
}

function message(item) {
  switch (item.kind) {
    case "system": return fold("System prompt", () => longText(PAGE.systems[item.system], 200), false, { class: "item system" });
    case "user": return short(item.text) ? h("div", { class: "item user" }, h("span", { class: "who" }, "To the agent"), longText(item.text, 40))
      : fold(["To the agent: ", cut(item.text.slice(0, 400), 110)], () => longText(item.text, 400), false, { class: "item user" });
    case "assistant": return assistant(item);
    case "call": return toolUse(item);
    case "fault": return h("div", { class: "item fault" }, h("span", { class: "who" }, `Call failed${item.name ? `, try ${item.name}` : ""}`), item.text);
    default: return h("div", { class: "item note" }, item.text);
  }
}

const short = (text) => text.length < 600 && text.split("\n").length < 8;

function assistant(item) {
  const [prompt, completion, cached] = item.tokens || [0, 0, 0];
  const head = [item.turn ? `Turn ${item.turn}` : "Agent", item.at ? `at ${clock(item.at)}` : "", item.ms ? `took ${clock(item.ms)}` : "",
    item.tokens ? `${count(prompt)} in${cached ? ` (${percent(cached, prompt)} cached)` : ""}, ${count(completion)} out` : "", item.finish && words(item.finish)];
  return h("div", { class: "item assistant" }, h("span", { class: "who" }, head.filter(Boolean).join(" · ")),
    item.thinking && fold(`Thinking: ${cut(item.thinking.slice(0, 300), 90)}`, () => longText(item.thinking, 200)),
    item.text && longText(item.text, 60));
}

function toolUse(item) {
  const bad = item.status && item.status !== "completed";
  const how = [bad && words(item.status), item.error && words(item.error), item.exit_code ? `exit code ${item.exit_code}` : "", item.ms ? clock(item.ms) : "", item.truncated && "cut"];
  const summary = [h("code", {}, item.name), " ", h("span", { class: "arguments" }, cut(gist(item.arguments || ""), 90)), " ", h("span", { class: "how" }, how.filter(Boolean).join(", "))];
  return fold(summary, () => [item.arguments && h("div", { class: "who" }, "Arguments"), item.arguments && longText(pretty(item.arguments), 60),
    h("div", { class: "who" }, "What it gave back"), longText(item.text || "", 120)].filter(Boolean), false, { class: `item call${bad || item.exit_code ? " bad" : ""}` });
}

/** The arguments as one reads them: the values of an object of texts, else the JSON as it came. */
function pretty(text) {
  try {
    const value = JSON.parse(text);
    if (value === null || typeof value !== "object" || Array.isArray(value)) return text;
    return Object.entries(value).map(([name, inner]) => (typeof inner === "string" ? `${name}:${inner.includes("\n") ? "\n" : " "}${inner}` : `${name}: ${JSON.stringify(inner)}`)).join("\n");
  } catch {
    return text;
  }
}

function gist(text) {
  try {
    const value = JSON.parse(text);
    const said = ["command", "path", "pattern", "summary", "query", "url", "prompt", "name"].map((name) => value[name]).find((each) => typeof each === "string");
    return said ?? Object.values(value).find((each) => typeof each === "string") ?? text;
  } catch {
    return text.slice(0, 400);
  }
}

// The record in lines: notices, the board, budgets, merges, what the user did.

const ENTRY_NAMES = { notice: "Notices", board: "Board", budget: "Budget", told: "Told to finish", control: "Controls", answer: "Answers", resumed: "Resumed", skipped: "Skipped", merge: "Merges", stage: "Stages", gap: "Gaps", reward: "Rewards" };

function record(run) {
  const kinds = [...new Set(run.entries.map((entry) => entry.kind))];
  if (!kinds.length) return h("div", {}, h("h2", {}, "Record"), h("p", {}, "There is nothing in it beside what the other parts show."));
  const hidden = new Set();
  const body = h("tbody", {});
  const view = { shown: 500, find: "" };
  const more = h("button", { type: "button", class: "more" });
  const fillRows = () => {
    const wanted = run.entries.filter((entry) => !hidden.has(entry.kind) && `${entry.text} ${(run.agents[entry.agent] || {}).name || ""}`.toLowerCase().includes(view.find));
    body.replaceChildren(...wanted.slice(0, view.shown).map((entry) => entryRow(run, entry)));
    more.hidden = wanted.length <= view.shown;
    more.textContent = `Show ${wanted.length - view.shown} more`;
  };
  more.addEventListener("click", () => {
    view.shown += 2000;
    fillRows();
  });
  const find = h("input", { type: "search", placeholder: "Filter", "aria-label": "Filter the record", oninput: () => {
    view.find = find.value.trim().toLowerCase();
    fillRows();
  } });
  const keys = kinds.map((kind) => h("label", {}, h("input", { type: "checkbox", checked: true, onchange: (event) => {
    hidden[event.target.checked ? "delete" : "add"](kind);
    fillRows();
  } }), ` ${ENTRY_NAMES[kind] || kind} (${run.entries.filter((entry) => entry.kind === kind).length})`));
  fillRows();
  return h("div", {}, h("h2", {}, "Record"), h("div", { class: "tools" }, find, keys),
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["At", "What", "Who", "Said"].map((name) => h("th", { scope: "col" }, name)))), body)), more);
}

function entryRow(run, entry) {
  const agent = run.agents[entry.agent];
  return h("tr", { class: entry.warning ? "warned" : undefined }, h("td", { class: "number" }, clock(entry.at)), h("td", {}, words(entry.kind)),
    h("td", {}, agent ? h("button", { type: "button", class: "link", onclick: () => openAgent(run, entry.agent) }, agent.name) : ""), h("td", { class: "said" }, entry.text));
}

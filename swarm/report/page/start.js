// The page itself: its heading, its tabs, light and dark, the keyboard, and paper.

const main = document.getElementById("main");
const PARTS = [["overview", "Overview", overview], ["plan", "Plan", plan], ["timeline", "Timeline", (run) => timeline([run])], ["agents", "Agents", agents],
  ["patch", "Patch", patch], ["gate", "Gate", gate], ["record", "Record", record]];
const shownRun = { index: 0 };
const made = new Map();

function parts() {
  return PAGE.runs.length > 1 ? [["compare", "Side by side", () => compare(PAGE.runs)], ...PARTS] : PARTS;
}

/** The panel of a part of a run, made when it is first looked at. */
function panel(name) {
  const key = name === "compare" ? name : `${name}-${shownRun.index}`;
  if (!made.has(key)) {
    const [, , make] = parts().find((part) => part[0] === name);
    const content = make(PAGE.runs[shownRun.index]);
    const box = h("section", { role: "tabpanel", id: `panel-${key}`, "aria-labelledby": `tab-${name}`, class: "panel" }, content);
    box.content = content;
    made.set(key, box);
    main.append(box);
  }
  return made.get(key);
}

function show(name, focus) {
  const chosen = parts().some((part) => part[0] === name) ? name : parts()[0][0];
  const box = panel(chosen);
  for (const other of made.values()) other.hidden = other !== box;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const on = tab.id === `tab-${chosen}`;
    tab.setAttribute("aria-selected", String(on));
    tab.setAttribute("tabindex", on ? "0" : "-1");
    if (on) tab.setAttribute("aria-controls", box.id);
    if (on && focus) tab.focus();
  }
  if (location.hash.slice(1) !== chosen) history.replaceState(null, "", `#${chosen}`);
  if (box.content.shown) box.content.shown();
  document.documentElement.dataset.part = chosen;
}

const current = () => document.documentElement.dataset.part;

function tabs() {
  const list = document.getElementById("tabs");
  list.append(...parts().map(([name, title]) => h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-selected": "false", tabindex: "-1", onclick: () => show(name) }, title)));
  list.addEventListener("keydown", (event) => {
    const names = parts().map((part) => part[0]);
    const at = names.indexOf(current());
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    show(names[(next + names.length) % names.length], true);
  });
}

function heading() {
  const run = PAGE.runs[shownRun.index];
  const choice = PAGE.runs.length > 1 && h("div", { class: "runs", role: "group", "aria-label": "Run" }, PAGE.runs.map((each, index) => button(`${"AB"[index]} ${each.id}`, () => {
    shownRun.index = index;
    heading();
    show(current() === "compare" ? "overview" : current());
  }, undefined, { "aria-pressed": String(index === shownRun.index) })));
  document.getElementById("heading").replaceChildren(h("div", { class: "title-line" }, h("h1", {}, "swarm ", h("span", { class: "run-id" }, run.id)), badge(run.status), h("span", { class: "task" }, cut(run.task, 200)), themeButton(redraw)),
    ...[choice].filter(Boolean));
}

function redraw() {
  for (const box of made.values()) {
    for (const drawn of box.querySelectorAll(".timeline")) drawn.dispatchEvent(new Event("scroll"));
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  heading();
  redraw();
});
window.addEventListener("hashchange", () => show(location.hash.slice(1)));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !drawer.box.hidden) drawer.hide();
});
// On paper stands every part; the timeline at its full height.
window.addEventListener("beforeprint", () => {
  parts().forEach(([name]) => panel(name));
  for (const box of made.values()) {
    box.hidden = false;
    if (box.content.printed) box.content.printed(true);
  }
});
window.addEventListener("afterprint", () => {
  for (const box of made.values()) if (box.content.printed) box.content.printed(false);
  show(current());
});

main.replaceChildren();
tabs();
heading();
show(location.hash.slice(1) || parts()[0][0]);
document.documentElement.dataset.ready = String(Math.round(performance.now()));

// Helpers that all parts of the page use. Whatever came from models and files is put in as text, never as HTML.
"use strict";

const PAGE = JSON.parse(document.getElementById("data").textContent);
const KINDS = ["waiting for admission", "model", "failed call", "tool", "waiting for its own agents"];
const KIND_NAMES = ["wait", "model", "failure", "tool", "group"];
const GLYPHS = {
  completed: "✓", failed: "✗", errored: "!", timed_out: "◷", cancelled: "⊘", budget_exhausted: "$", skipped: "–",
  unmerged: "≠", working: "▶", waiting: "…", over: "–", lost: "?", partial: "◐", running: "▶", crashed: "!",
};

/** An element with properties (`class`, `on…`, data and ARIA attributes) and children: texts or elements. */
function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for a part of a drawing. */
function s(tag, properties, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "open") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** The part of the page with this number, unpacked. */
async function unpack(number) {
  const packed = document.getElementById(`blob-${number}`).textContent;
  const bytes = Uint8Array.from(atob(packed), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return JSON.parse(await new Response(stream).text());
}

const NAMES = { over: "not started", unmerged: "not merged", lost: "cut off" };
const words = (name) => NAMES[name] || String(name).replaceAll("_", " ");
const many = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const percent = (part, whole) => `${Math.round((100 * part) / Math.max(1, whole))} %`;
const dollars = (cost) => (cost === null ? "unknown" : `$${cost < 1 ? cost.toFixed(4) : cost.toFixed(2)}`);

/** A text that is not longer than it may be. */
const cut = (text, length) => {
  const flat = text.replace(/\s+/g, " ").trim();
  return flat.length > length ? `${flat.slice(0, Math.max(1, length - 1))}…` : flat;
};

/** 12, 3.4k, 1.2M. */
function count(number) {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (number >= size) return `${(number / size).toFixed(1)}${unit}`;
  }
  return String(number);
}

/** 0.31 s, 12.4 s, 3:07, 1:02:03. */
function clock(ms) {
  if (ms < 60000) return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
  const whole = Math.round(ms / 1000);
  const pad = (number) => String(number).padStart(2, "0");
  const rest = `${pad(Math.floor(whole / 60) % 60)}:${pad(whole % 60)}`;
  return whole >= 3600 ? `${Math.floor(whole / 3600)}:${rest}` : rest.replace(/^0/, "");
}

function badge(state, text) {
  return h("span", { class: `badge s-${state}` }, h("span", { "aria-hidden": "true" }, `${GLYPHS[state] || "·"} `), text || words(state));
}

/** A button; `label` is said aloud where the text alone says too little. */
function button(text, press, label, more) {
  return h("button", { type: "button", onclick: press, "aria-label": label, ...more }, text);
}

/** A fold whose content is made when it is first opened. */
function fold(summary, make, open, properties) {
  const details = h("details", properties, h("summary", {}, summary));
  let made = false;
  const unfold = async () => {
    if (!details.open || made) return;
    made = true;
    const body = h("div", { class: "folded" }, "…");
    details.append(body);
    body.replaceChildren(...[await make()].flat());
    details.dataset.ready = "true";
  };
  details.addEventListener("toggle", unfold);
  if (open) {
    details.open = true;
    unfold();
  }
  return details;
}

/** A long text, cut until one asks for all of it. */
function longText(text, lines, className) {
  const all = text.split("\n");
  const box = h("pre", { class: className || "text", tabindex: all.length > lines ? "0" : undefined });
  if (all.length <= lines && text.length < 40000) {
    box.textContent = text;
    return box;
  }
  const shown = all.slice(0, lines).join("\n").slice(0, 40000);
  box.textContent = shown;
  const more = button(`Show all ${all.length.toLocaleString("en")} lines`, () => {
    box.textContent = text;
    more.remove();
  });
  more.className = "more";
  return h("div", {}, box, more);
}

function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined)
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function table(heads, rows, className) {
  const cells = (row) => row.map((cell, index) => h("td", { class: heads[index].number ? "number" : undefined }, cell));
  return h("div", { class: "scroll" }, h("table", { class: className },
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col", class: head.number ? "number" : undefined }, head.name)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, cells(row))))));
}

/** What stands at the pointer. */
const tip = {
  box: document.getElementById("tip"),
  show(event, ...lines) {
    this.box.replaceChildren(...lines.map((line, index) => h(index ? "div" : "strong", {}, line)));
    this.box.hidden = false;
    const { innerWidth: wide, innerHeight: high } = window;
    const size = this.box.getBoundingClientRect();
    this.box.style.left = `${Math.max(4, Math.min(event.clientX + 14, wide - size.width - 8))}px`;
    this.box.style.top = `${Math.max(4, event.clientY + 18 + size.height > high ? event.clientY - size.height - 10 : event.clientY + 18)}px`;
  },
  hide() {
    this.box.hidden = true;
  },
};

/** A colour of the style sheet, for what is drawn on a canvas. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** The button of light and dark; `after` is called when it was pressed. */
function themeButton(after) {
  const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const toggle = button("", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    label();
    after();
  }, undefined, { id: "theme" });
  const label = () => {
    toggle.textContent = dark() ? "☀ Light" : "☾ Dark";
    toggle.setAttribute("aria-label", dark() ? "Change to light" : "Change to dark");
  };
  label();
  return toggle;
}

// All agents over time, on a canvas: only the rows that are in view are drawn, so that 300 agents cost what 30 do.

const AXIS = 26;
const MARKS = 18;

/** A timeline of runs; two stand below each other on the same scale, and move together. */
function timeline(runs, title) {
  const longest = Math.max(1, ...runs.map((run) => Math.max(run.wall_ms, ...run.agents.map((agent) => agent.end))));
  const view = { from: 0, to: longest, longest, way: "by_steps", order: "start", find: "" };
  const status = h("p", { class: "hint", role: "status" });
  const panes = [];
  const redraw = () => panes.forEach((pane) => pane.draw());
  const control = {
    view, status, redraw,
    zoom(factor, around = (view.from + view.to) / 2) {
      const length = Math.min(longest, Math.max(5, (view.to - view.from) * factor));
      const part = (around - view.from) / (view.to - view.from);
      view.from = Math.max(0, Math.min(longest - length, around - part * length));
      view.to = view.from + length;
      redraw();
    },
    move(part, from = view.from) {
      const length = view.to - view.from;
      view.from = Math.max(0, Math.min(longest - length, from + part * length));
      view.to = view.from + length;
      redraw();
    },
    fit() {
      [view.from, view.to] = [0, longest];
      redraw();
    },
  };
  panes.push(...runs.map((run) => timelinePane(run, control, runs.length > 1)));
  const arrange = () => {
    panes.forEach((pane) => pane.arrange());
    status.textContent = many(panes.reduce((sum, pane) => sum + pane.rows.length - 1, 0), "agent");
  };
  const find = h("input", { type: "search", placeholder: "Filter agents", "aria-label": "Filter agents", oninput: () => {
    view.find = find.value.trim().toLowerCase();
    arrange();
  } });
  const order = h("select", { "aria-label": "Order", onchange: () => {
    view.order = order.value;
    arrange();
  } }, h("option", { value: "start" }, "In order of start"), h("option", { value: "length" }, "Longest first"), h("option", { value: "wait" }, "Longest wait first"), h("option", { value: "name" }, "By name"));
  const way = wayChoice((chosen) => {
    view.way = chosen;
    redraw();
  });
  const legend = h("p", { class: "legend" }, KINDS.map((name, kind) => h("span", {}, h("i", { class: `swatch t-${KIND_NAMES[kind]}` }), name)),
    h("span", {}, h("i", { class: "swatch t-other" }), "the rest: sandbox, sub-agents at work, …"), h("span", {}, h("i", { class: "swatch t-critical" }), "critical path"),
    h("span", {}, h("i", { class: "swatch t-gate" }), "gate"), h("span", {}, h("i", { class: "swatch t-merge" }), "merged"), h("span", {}, h("i", { class: "swatch t-evicted" }), "not merged"));
  const box = h("div", {}, h(title ? "h3" : "h2", {}, title || "Timeline"),
    h("p", { class: "hint" }, "Drag to move, Ctrl and the wheel to zoom; click an agent to see what it did."),
    h("div", { class: "tools" }, find, order, button("−", () => control.zoom(1.4), "Zoom out"), button("+", () => control.zoom(0.7), "Zoom in"), button("Fit", () => control.fit()), way), legend,
    panes.map((pane, index) => [runs.length > 1 && h("h4", {}, `${"AB"[index]}: ${runs[index].id} `, badge(runs[index].status)), pane.frame]), status);
  arrange();
  box.shown = redraw;
  box.printed = (on) => panes.forEach((pane) => pane.full(on));
  return box;
}

/** The rows of one run. */
function timelinePane(run, control, small) {
  const { view, status } = control;
  const canvas = h("canvas", { tabindex: "0", role: "application", "aria-label": "Timeline of all agents: arrow keys up and down choose, left and right move, plus and minus zoom, Enter opens; the table of agents says the same in words" });
  const spacer = h("div", { class: "spacer" });
  const frame = h("div", { class: `timeline${small ? " small" : ""}` }, h("div", { class: "stick" }, canvas), spacer);
  const lane = run.agents.length > 120 ? 13 : 18;
  const pane = { frame, rows: [], chosen: 0, hover: -1 };
  const gutter = () => (frame.clientWidth < 700 ? 96 : 170);
  const orders = { start: (a, b) => a.start - b.start, length: (a, b) => b.end - b.start - (a.end - a.start), wait: (a, b) => b.wait_ms - a.wait_ms,
    name: (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }) };
  pane.arrange = () => {
    const wanted = run.agents.filter((agent) => `${agent.id} ${agent.name} ${agent.title}`.toLowerCase().includes(view.find));
    pane.rows = [{ run, marks: true }, ...wanted.sort(orders[view.order]).map((agent) => ({ run, agent }))];
    spacer.style.height = `${pane.rows.length * lane + AXIS + 8}px`;
    frame.scrollTop = 0;
    pane.draw();
  };
  const x = (ms) => gutter() + ((ms - view.from) / (view.to - view.from)) * (frame.clientWidth - gutter() - 14);
  const time = (at) => view.from + ((at - gutter()) / (frame.clientWidth - gutter() - 14)) * (view.to - view.from);
  pane.draw = () => {
    const [wide, high] = [frame.clientWidth, frame.clientHeight];
    if (!wide || !high) return;
    const scale = window.devicePixelRatio || 1;
    canvas.width = wide * scale;
    canvas.height = high * scale;
    canvas.style.width = `${wide}px`;
    canvas.style.height = `${high}px`;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const paint = palette();
    pen.font = `${lane > 14 ? 12 : 11}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    const last = Math.min(pane.rows.length, Math.ceil((frame.scrollTop + high) / lane));
    for (let index = Math.max(0, Math.floor(frame.scrollTop / lane)); index < last; index += 1) {
      const marked = index === pane.hover || index === pane.chosen;
      drawRow(pen, paint, view, pane.rows[index], marked, { top: AXIS + index * lane - frame.scrollTop, lane, wide, gutter: gutter(), x });
    }
    drawAxis(pen, paint, view, { wide, gutter: gutter(), x, high });
  };
  pane.full = (on) => {
    frame.style.maxHeight = on ? "none" : "";
    pane.draw();
  };
  const rowAt = (event) => Math.floor((event.offsetY - AXIS + frame.scrollTop) / lane);
  const open = (row) => row && row.agent && openAgent(run, run.agents.indexOf(row.agent));
  const pick = (index) => {
    pane.chosen = Math.max(0, Math.min(pane.rows.length - 1, index));
    const top = pane.chosen * lane;
    if (top < frame.scrollTop) frame.scrollTop = top;
    if (top + lane + AXIS > frame.scrollTop + frame.clientHeight) frame.scrollTop = top + lane + AXIS - frame.clientHeight;
    const { agent } = pane.rows[pane.chosen];
    if (agent) status.textContent = `${agent.name}: ${words(agent.outcome)}, ${clock(agent.end - agent.start)}, model ${clock(agent.model_ms)}, tools ${clock(agent.tool_ms)}, waiting ${clock(agent.wait_ms)}`;
    pane.draw();
  };
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, from: view.from, moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drag && event.buttons) {
      drag.moved = drag.moved || Math.abs(event.clientX - drag.x) > 3;
      control.move((drag.x - event.clientX) / (frame.clientWidth - gutter()), drag.from);
      return;
    }
    pane.hover = rowAt(event);
    hover(event, pane.rows[pane.hover], time(event.offsetX), (view.to - view.from) / frame.clientWidth);
    pane.draw();
  });
  canvas.addEventListener("pointerleave", () => {
    pane.hover = -1;
    tip.hide();
    pane.draw();
  });
  canvas.addEventListener("click", (event) => {
    if (drag && drag.moved) return;
    pane.chosen = rowAt(event);
    open(pane.rows[pane.chosen]);
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
    event.preventDefault();
    control.zoom(event.deltaY + event.deltaX > 0 ? 1.25 : 0.8, time(event.offsetX));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const act = { ArrowUp: () => pick(pane.chosen - 1), ArrowDown: () => pick(pane.chosen + 1), ArrowLeft: () => control.move(-0.15), ArrowRight: () => control.move(0.15),
      "+": () => control.zoom(0.7), "-": () => control.zoom(1.4), 0: () => control.fit(), Enter: () => open(pane.rows[pane.chosen]) }[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
  frame.addEventListener("scroll", () => requestAnimationFrame(pane.draw));
  new ResizeObserver(pane.draw).observe(frame);
  return pane;
}

function palette() {
  const names = ["text", "muted", "line", "surface", "accent", "row", "t-wait", "t-model", "t-failure", "t-tool", "t-group", "t-other", "t-critical", "t-gate", "good", "bad"];
  return Object.fromEntries(names.map((name) => [name, colour(name)]));
}

function drawRow(pen, paint, view, row, marked, place) {
  const { top, lane, wide, gutter, x } = place;
  const clip = (ms) => Math.max(gutter, Math.min(wide - 4, x(ms)));
  if (row.marks) {
    drawMarks(pen, paint, row.run, place);
    return;
  }
  const { agent } = row;
  const lit = agent[view.way];
  if (marked) {
    pen.fillStyle = paint.row;
    pen.fillRect(0, top, wide, lane);
  }
  const bar = lane > 14 ? 11 : 8;
  const middle = top + lane / 2;
  pen.fillStyle = paint["t-other"];
  pen.fillRect(clip(agent.start), middle - bar / 2, Math.max(1, clip(agent.end) - clip(agent.start)), bar);
  for (let at = 0; at < agent.spans.length; at += 3) {
    const [kind, start, length] = [agent.spans[at], agent.spans[at + 1], agent.spans[at + 2]];
    if (start + length < view.from || start > view.to) continue;
    pen.fillStyle = paint[`t-${KIND_NAMES[kind]}`];
    const left = clip(start);
    pen.fillRect(left, middle - bar / 2, Math.max(0.6, clip(start + length) - left), bar);
  }
  if (lit) {
    pen.strokeStyle = paint["t-critical"];
    pen.lineWidth = 2;
    pen.strokeRect(clip(agent.start) - 1, middle - bar / 2 - 1, Math.max(3, clip(agent.end) - clip(agent.start) + 2), bar + 2);
  }
  pen.fillStyle = lit ? paint["t-critical"] : ["failed", "errored", "timed_out", "lost"].includes(agent.outcome) ? paint.bad : paint.text;
  const glyph = GLYPHS[agent.outcome] || "·";
  const attempt = agent.attempt > 1 ? ` #${agent.attempt}` : "";
  pen.fillText(fitted(pen, `${glyph} ${agent.name}${attempt}`, gutter - 14), 8, middle);
}

function drawMarks(pen, paint, run, { top, lane, gutter, wide, x }) {
  const inside = (ms) => x(ms) >= gutter && x(ms) <= wide;
  pen.fillStyle = paint.muted;
  pen.fillText("gate, merges", 8, top + lane / 2);
  for (const mark of run.marks) {
    const left = Math.max(gutter, x(mark.start));
    const right = Math.min(wide - 4, x(mark.end));
    pen.fillStyle = mark.kind === "gate" ? paint["t-gate"] : mark.kind === "merge" ? paint.good : mark.kind === "evicted" ? paint.bad : paint.muted;
    if (mark.kind === "gate" && right > gutter) {
      pen.fillRect(left, top + 3, Math.max(2, right - left), lane - 6);
      if (!mark.ok) {
        pen.fillStyle = paint.bad;
        pen.fillRect(left, top + lane - 5, Math.max(2, right - left), 2);
      }
    } else if (mark.kind === "paused" && right > gutter) pen.fillRect(left, top + lane / 2 - 1, Math.max(2, right - left), 3);
    else if (inside(mark.start)) pen.fillRect(left - 1, mark.kind === "evicted" ? top + lane / 2 : top + 2, 2, mark.kind === "resumed" ? lane : lane / 2);
  }
  pen.fillStyle = paint.muted;
  for (const mark of run.marks) if (mark.kind === "resumed" && inside(mark.start)) pen.fillRect(x(mark.start) - 1, top, 1, 1e4);
  pen.strokeStyle = paint.muted;
  pen.lineWidth = 1;
  for (const stage of run.stages) {
    if (!inside(stage.start)) continue;
    pen.beginPath();
    pen.moveTo(x(stage.start), top);
    pen.lineTo(x(stage.start), top + lane);
    pen.stroke();
  }
}

function drawAxis(pen, paint, view, { wide, gutter, x, high }) {
  pen.fillStyle = paint.surface;
  pen.fillRect(0, 0, wide, AXIS - 2);
  const length = view.to - view.from;
  const rough = length / Math.max(2, (wide - gutter) / 110);
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 72e5, 216e5, 864e5];
  const step = steps.find((each) => each >= rough) || steps.at(-1);
  pen.strokeStyle = paint.line;
  pen.lineWidth = 1;
  for (let ms = Math.ceil(view.from / step) * step; ms <= view.to; ms += step) {
    const at = Math.round(x(ms)) + 0.5;
    pen.globalAlpha = 0.6;
    pen.beginPath();
    pen.moveTo(at, AXIS - 6);
    pen.lineTo(at, high);
    pen.stroke();
    pen.globalAlpha = 1;
    pen.fillStyle = paint.muted;
    if (at < wide - 40) pen.fillText(step < 1000 ? `${(ms / 1000).toFixed(step < 10 ? 3 : 2)} s` : clock(ms).replace(/\.\d+ s/, " s"), at + 4, AXIS / 2);
  }
}

function fitted(pen, text, wide) {
  let shown = text;
  while (shown.length > 4 && pen.measureText(shown).width > wide) shown = `${shown.slice(0, -2).replace(/…$/, "")}…`;
  return shown;
}

function hover(event, row, ms, slack) {
  if (!row) return tip.hide();
  if (row.marks) {
    const near = row.run.marks.filter((mark) => mark.start - 4 * slack <= ms && ms <= mark.end + 4 * slack);
    return near.length ? tip.show(event, ...near.slice(0, 8).map((mark) => `${clock(mark.start)}  ${cut(mark.text, 90)}`)) : tip.hide();
  }
  const { agent } = row;
  const said = [`${agent.name}${agent.attempt > 1 ? `, attempt ${agent.attempt}` : ""}: ${words(agent.outcome)}`, agent.title,
    `${clock(agent.end - agent.start)}: model ${clock(agent.model_ms)}, tools ${clock(agent.tool_ms)}, waiting ${clock(agent.wait_ms)}`];
  for (let at = 0; at < agent.spans.length; at += 3) {
    const [kind, start, length] = [agent.spans[at], agent.spans[at + 1], agent.spans[at + 2]];
    if (start <= ms && ms <= start + length) said.push(`at ${clock(ms)}: ${KINDS[kind]}, ${clock(length)}`);
  }
  return tip.show(event, ...said.filter(Boolean));
}

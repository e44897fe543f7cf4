// The plans of all stages as a graph: laid out when the page was made, drawn here.

function plan(run) {
  const graph = run.graph;
  if (!graph.nodes.length) return h("div", {}, h("h2", {}, "Plan"), h("p", {}, "There is no plan in its record."));
  const after = graph.nodes.map(() => []);
  const before = graph.nodes.map(() => []);
  for (const [from, to] of graph.edges) {
    after[from].push(to);
    before[to].push(from);
  }
  const view = { zoom: 1, chosen: 0, way: "by_steps" };
  const drawing = s("svg", { viewBox: `0 0 ${graph.width} ${graph.height}`, role: "group", "aria-label": "Graph of sub-tasks: arrow keys move, Enter opens" });
  const frame = h("div", { class: "graph scroll", tabindex: "-1" }, drawing);
  const lines = graph.edges.map((edge) => drawEdge(graph, edge));
  const nodes = graph.nodes.map((node, index) => drawNode(graph, node, index, view));
  drawing.append(arrowHead(), ...graph.bands.map((band) => drawBand(run, graph, band)), s("g", {}, lines), s("g", {}, nodes));
  const size = () => {
    drawing.setAttribute("width", graph.width * view.zoom);
    drawing.setAttribute("height", graph.height * view.zoom);
  };
  const mark = (kept) => {
    nodes.forEach((node, index) => node.classList.toggle("dim", kept !== null && !kept.has(index)));
    lines.forEach((line, index) => {
      const [from, to] = graph.edges[index];
      line.classList.toggle("dim", kept !== null && !(kept.has(from) && kept.has(to)));
      line.classList.toggle("lit", kept !== null && kept.has(from) && kept.has(to));
    });
  };
  const connected = (index) => new Set([...reach(index, after), ...reach(index, before)]);
  const choose = (index) => {
    nodes[view.chosen].setAttribute("tabindex", "-1");
    view.chosen = index;
    nodes[index].setAttribute("tabindex", "0");
    nodes[index].focus();
  };
  nodes.forEach((node, index) => {
    const data = graph.nodes[index];
    node.addEventListener("click", () => openSubtask(run, data.id));
    node.addEventListener("pointerenter", (event) => {
      mark(connected(index));
      tip.show(event, data.id, data.title, words(data.state) + (data.why ? `: ${data.why.slice(0, 200)}` : ""),
        data.needs.length ? `after ${data.needs.join(", ")}` : "", data.by_steps ? "on the critical path by steps" : "", data.by_time ? "on the critical path by the clock" : "");
    });
    node.addEventListener("pointerleave", () => {
      mark(null);
      tip.hide();
    });
    node.addEventListener("focus", () => mark(connected(index)));
    node.addEventListener("blur", () => mark(null));
  });
  drawing.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) {
      event.preventDefault();
      const next = nearest(graph.nodes, view.chosen, way);
      if (next >= 0) choose(next);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      openSubtask(run, graph.nodes[view.chosen].id);
    }
  });
  const zoom = (factor) => {
    view.zoom = Math.min(3, Math.max(0.2, view.zoom * factor));
    size();
  };
  const fit = () => {
    view.zoom = Math.min(1.25, Math.max(0.2, (frame.clientWidth - 4) / graph.width));
    size();
  };
  const find = h("input", { type: "search", placeholder: "Find a sub-task", "aria-label": "Find a sub-task", oninput: () => {
    const wanted = find.value.trim().toLowerCase();
    mark(wanted ? new Set(graph.nodes.flatMap((node, index) => (`${node.id} ${node.title}`.toLowerCase().includes(wanted) ? [index] : []))) : null);
  } });
  const states = [...new Set(graph.nodes.map((node) => node.state))];
  const legend = states.map((state) => h("button", { type: "button", class: `key s-${state}`, "aria-pressed": "false", onclick: (event) => {
    const pressed = event.currentTarget.getAttribute("aria-pressed") === "true";
    legend.forEach((key) => key.setAttribute("aria-pressed", "false"));
    event.currentTarget.setAttribute("aria-pressed", String(!pressed));
    mark(pressed ? null : new Set(graph.nodes.flatMap((node, index) => (node.state === state ? [index] : []))));
  } }, badge(state, `${graph.nodes.filter((node) => node.state === state).length} ${words(state)}`)));
  const way = wayChoice((chosen) => {
    nodes.forEach((node, index) => node.classList.toggle("critical", Boolean(graph.nodes[index][chosen])));
    lines.forEach((line, index) => line.classList.toggle("critical", graph.edges[index].slice(0, 2).every((end) => graph.nodes[end][chosen])));
  });
  const box = h("div", {}, h("h2", {}, "Plan"),
    h("p", { class: "hint" }, `${many(graph.nodes.length, "sub-task")} in ${many(graph.bands.length, "stage")}. Left to right: what waits for what. Click one to see its agent.`),
    h("div", { class: "tools" }, find, button("−", () => zoom(0.8), "Smaller"), button("+", () => zoom(1.25), "Larger"), button("Fit", fit), way),
    h("div", { class: "legend" }, legend), frame);
  box.shown = fit;
  size();
  return box;
}

/** Choose which critical path is marked. */
function wayChoice(changed) {
  const choice = h("select", { "aria-label": "Critical path", onchange: () => changed(choice.value) },
    h("option", { value: "by_steps" }, "Critical path by steps"), h("option", { value: "by_time" }, "Critical path by the clock"),
    h("option", { value: "none" }, "No critical path"));
  changed("by_steps");
  return choice;
}

function reach(start, ways) {
  const found = new Set([start]);
  for (const index of found) ways[index].forEach((next) => found.add(next));
  return found;
}

function nearest(nodes, from, [dx, dy]) {
  let best = -1;
  let least = Infinity;
  nodes.forEach((node, index) => {
    const along = (node.x - nodes[from].x) * dx + (node.y - nodes[from].y) * dy;
    const across = Math.abs((node.x - nodes[from].x) * dy) + Math.abs((node.y - nodes[from].y) * dx);
    if (index !== from && along > 0.5 && along + 2.5 * across < least) [best, least] = [index, along + 2.5 * across];
  });
  return best;
}

function arrowHead() {
  return s("defs", {}, s("marker", { id: "head", viewBox: "0 0 8 8", refX: "8", refY: "4", markerWidth: "7", markerHeight: "7", orient: "auto" },
    s("path", { d: "M0 0.5 8 4 0 7.5z", class: "arrow" })));
}

function drawBand(run, graph, band) {
  const stage = run.stages.find((each) => each.number === band.stage);
  return s("g", {}, s("rect", { class: "band", x: 0, y: band.y, width: graph.width, height: band.height, rx: 8 }),
    s("text", { class: "band-name", x: 12, y: band.y + 19 }, band.stage ? `Stage ${band.stage}${stage && stage.rationale ? `: ${cut(stage.rationale, graph.width / 8.2)}` : ""}` : "Without a stage"));
}

function drawEdge(graph, [from, to, kind]) {
  const a = graph.nodes[from];
  const b = graph.nodes[to];
  const [x1, y1, x2, y2] = [a.x + graph.node_width, a.y + graph.node_height / 2, b.x, b.y + graph.node_height / 2];
  const bend = Math.max(24, Math.abs(x2 - x1) / 2);
  const path = a.stage === b.stage || kind === 2
    ? `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`
    : `M${a.x + 20} ${a.y + graph.node_height}C${a.x + 20} ${b.y - 30} ${b.x + 20} ${a.y + graph.node_height + 30} ${b.x + 20} ${b.y}`;
  return s("path", { class: `edge kind-${kind}`, d: path, "marker-end": "url(#head)" });
}

function drawNode(graph, node, index, view) {
  const { node_width: wide, node_height: high } = graph;
  const two = high >= 36;
  const group = s("g", { class: `node s-${node.state}${node.by_steps ? " critical" : ""}`, transform: `translate(${node.x} ${node.y})`, role: "button",
    tabindex: index === view.chosen ? "0" : "-1", "aria-label": `${node.id}, ${node.title}: ${words(node.state)}`, "data-subtask": node.id },
  s("rect", { width: wide, height: high, rx: 5 }), s("rect", { class: "stripe", width: 5, height: high, rx: 2 }),
  s("text", { x: 12, y: two ? 16 : high / 2 + 4, class: "id" }, `${GLYPHS[node.state] || "·"} ${cut(node.id, (wide - 24) / (two ? 7.8 : 7.2))}`));
  if (two) group.append(s("text", { x: 12, y: 31, class: "title" }, cut(node.title, (wide - 18) / 6.4)));
  return group;
}

// The table of agents, and the drawer with one of them.

const COLUMNS = [
  { name: "Agent", of: (agent) => agent.name, text: true },
  { name: "Outcome", of: (agent) => agent.outcome, text: true },
  { name: "Stage", of: (agent) => agent.stage },
  { name: "Steps", of: (agent) => agent.steps },
  { name: "Tools", of: (agent) => agent.tool_calls },
  { name: "Failed calls", of: (agent) => agent.failed_calls },
  { name: "Tokens", of: (agent) => agent.prompt + agent.completion, bar: true, show: count },
  { name: "Cached", of: (agent) => agent.cached / Math.max(1, agent.prompt), show: (value) => percent(value, 1) },
  { name: "Cost", of: (agent) => agent.cost ?? -1, bar: true, show: (value) => dollars(value < 0 ? null : value) },
  { name: "Time", of: (agent) => agent.end - agent.start, show: clock },
  { name: "Model", of: (agent) => agent.model_ms, show: clock },
  { name: "Tool time", of: (agent) => agent.tool_ms, show: clock },
  { name: "Waiting", of: (agent) => agent.wait_ms, show: clock },
];

function agents(run) {
  const view = { column: -1, down: true, find: "", outcome: "" };
  const body = h("tbody", {});
  const total = h("p", { class: "hint", role: "status" });
  const most = COLUMNS.map((column) => Math.max(1e-9, ...run.agents.map((agent) => (column.text ? 0 : column.of(agent)))));
  const fillRows = () => {
    let shown = run.agents.filter((agent) => (!view.outcome || agent.outcome === view.outcome)
      && `${agent.id} ${agent.name} ${agent.title} ${agent.role}`.toLowerCase().includes(view.find));
    if (view.column >= 0) {
      const { of, text } = COLUMNS[view.column];
      shown = [...shown].sort((a, b) => (text ? of(a).localeCompare(of(b), "en", { numeric: true }) : of(a) - of(b)) * (view.down ? -1 : 1));
    }
    body.replaceChildren(...shown.map((agent) => agentRow(run, agent, most)));
    const tokens = shown.reduce((sum, agent) => sum + agent.prompt + agent.completion, 0);
    const known = shown.every((agent) => agent.cost !== null);
    total.textContent = `${many(shown.length, "agent")}, ${count(tokens)} tokens, cost ${dollars(known ? shown.reduce((sum, agent) => sum + agent.cost, 0) : null)}`;
  };
  const heads = COLUMNS.map((column, index) => h("th", { scope: "col", class: column.text ? undefined : "number", "aria-sort": "none" },
    button(column.name, () => {
      view.down = view.column === index ? !view.down : !column.text;
      view.column = index;
      heads.forEach((head, other) => head.setAttribute("aria-sort", other === index ? (view.down ? "descending" : "ascending") : "none"));
      fillRows();
    })));
  const find = h("input", { type: "search", placeholder: "Filter agents", "aria-label": "Filter agents", oninput: () => {
    view.find = find.value.trim().toLowerCase();
    fillRows();
  } });
  const outcomes = h("select", { "aria-label": "Outcome", onchange: () => {
    view.outcome = outcomes.value;
    fillRows();
  } }, h("option", { value: "" }, "All outcomes"), [...new Set(run.agents.map((agent) => agent.outcome))].map((name) => h("option", { value: name }, words(name))));
  fillRows();
  return h("div", {}, h("h2", {}, "Agents"), h("div", { class: "tools" }, find, outcomes), total,
    h("div", { class: "scroll" }, h("table", { class: "agents" }, h("thead", {}, h("tr", {}, heads)), body)));
}

function agentRow(run, agent, most) {
  return h("tr", {}, COLUMNS.map((column, index) => {
    const value = column.of(agent);
    if (index === 0) {
      const attempt = agent.attempt > 1 ? ` #${agent.attempt}` : "";
      return h("th", { scope: "row" }, h("button", { type: "button", class: "link", "data-agent": agent.id, onclick: () => openAgent(run, run.agents.indexOf(agent)) }, agent.name + attempt),
        h("span", { class: "title" }, agent.title || agent.role));
    }
    if (index === 1) return h("td", {}, badge(agent.outcome));
    const cell = h("td", { class: "number" }, column.show ? column.show(value) : value);
    if (column.bar && value > 0) {
      const bar = h("i", { class: "bar", "aria-hidden": "true" });
      bar.style.width = `${(100 * value) / most[index]}%`;
      cell.append(bar);
    }
    return cell;
  }));
}

function subtaskLink(run, name) {
  return h("button", { type: "button", class: "link", onclick: () => openSubtask(run, name) }, name);
}

/** The last attempt at a sub-task, or what is known of one that was never started. */
function openSubtask(run, name) {
  const node = run.graph.nodes.find((each) => each.id === name);
  if (!node) return;
  if (node.agents.length) openAgent(run, node.agents.at(-1));
  else drawer.show(node.id, [badge(node.state), node.why && h("p", {}, node.why), subtaskFacts(run, node)]);
}

function subtaskFacts(run, node) {
  const links = (names) => names.map((name) => [subtaskLink(run, name), " "]);
  const followers = run.graph.nodes.filter((each) => each.needs.includes(node.id)).map((each) => each.id);
  return [facts([["Title", node.title], ["Stage", node.stage], ["Waits for", node.needs.length ? links(node.needs) : ""], ["Then", followers.length ? links(followers.slice(0, 30)) : ""],
    ["Made by", node.origin ? links([node.origin]) : ""], ["Means to write", node.files.join(", ")]]),
  node.instructions && fold("Instructions", () => longText(node.instructions, 80))];
}

function openAgent(run, index) {
  const agent = run.agents[index];
  if (!agent) return;
  const node = run.graph.nodes.find((each) => each.agents.includes(index));
  const others = node ? node.agents.filter((other) => other !== index) : [];
  const said = [badge(agent.outcome), agent.stop && ` ${words(agent.stop)}`, node && node.state !== agent.outcome && [" ", badge(node.state)], node && node.why && h("p", {}, node.why)];
  const figuresOf = facts([["Role", agent.role], ["Attempt", agent.attempt], ["Model", agent.model], ["Sandbox", agent.sandbox], ["Steps", agent.steps], ["Tool calls", agent.tool_calls],
    ["Failed calls", agent.failed_calls || ""], ["In flight at the end", agent.lost || ""], ["Tokens", `${count(agent.prompt)} in (${percent(agent.cached, agent.prompt)} cached), ${count(agent.completion)} out`], ["Cost", dollars(agent.cost)],
    ["Time", `${clock(agent.end - agent.start)}, from ${clock(agent.start)}`], ["Model time", clock(agent.model_ms)], ["Tool time", clock(agent.tool_ms)], ["Waiting", clock(agent.wait_ms)],
    ["Told to finish", agent.told], ["Other attempts", others.length ? others.map((other) => [button(`#${run.agents[other].attempt}`, () => openAgent(run, other), `Attempt ${run.agents[other].attempt}`, { class: "link" }), " "]) : ""]]);
  drawer.show(agent.name, [h("p", {}, said), figuresOf, node && subtaskFacts(run, node),
    agent.summary && h("section", {}, h("h3", {}, "What it handed in"), longText(agent.summary, 20)),
    h("section", {}, h("h3", {}, "Conversation"), conversation(agent))], `agent ${agent.id}`);
}

/** The panel at the side; the place in the page from which it was opened gets the focus back. */
const drawer = {
  box: document.getElementById("drawer"),
  from: null,
  show(title, content) {
    if (this.box.hidden) this.from = document.activeElement;
    const heading = h("h2", { tabindex: "-1" }, title);
    this.box.replaceChildren(h("div", { class: "drawer-head" }, heading, button("Close", () => this.hide(), "Close this panel", { class: "close" })), h("div", { class: "drawer-body" }, content.flat(3).filter(Boolean)));
    this.box.hidden = false;
    tip.hide();
    heading.focus();
    this.box.scrollTop = 0;
  },
  hide() {
    this.box.hidden = true;
    if (this.from && this.from.isConnected) this.from.focus();
  },
};

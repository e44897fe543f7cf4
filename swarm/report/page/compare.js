// Two runs side by side.

function compare([first, second]) {
  const timelines = timeline([first, second], "Both timelines on one scale");
  const box = h("div", {}, h("h2", {}, "Side by side"), h("p", { class: "hint" }, "A is the first run, B the second; the difference is B less A."),
    deltas(first, second), timelines, subtasksBeside(first, second), differencesPart());
  box.shown = timelines.shown;
  box.printed = timelines.printed;
  return box;
}

function deltas(a, b) {
  const passed = (run) => (verdict(run) ? `${verdict(run).passed ? "passed" : "failed"}${verdict(run).stage ? "" : " on the base"}` : "none");
  const over = a.exit_code !== null && b.exit_code !== null;
  const words2 = (name, of) => [name, of(a), of(b), of(a) === of(b) ? "same" : "differs"];
  const number = (name, of, show = (value) => value.toLocaleString("en"), less = true) => {
    const [one, other] = [of(a), of(b)];
    if (one === null || other === null) return [name, one === null ? "unknown" : show(one), other === null ? "unknown" : show(other), ""];
    const change = other - one;
    const ratio = one > 0 && other > 0 && change ? ` (×${(other / one).toFixed(2)})` : "";
    const better = change === 0 || less === null || !over ? "" : change < 0 === less ? "better" : "worse";
    return [name, show(one), show(other), h("span", { class: better }, change ? `${change < 0 ? "−" : "+"}${show(Math.abs(change))}${ratio}${better ? `, ${better}` : ""}` : "same")];
  };
  const rows = [words2("Task", (run) => cut(run.task, 60)), words2("Mode", (run) => run.mode), words2("Models", (run) => [...new Set(Object.values(run.models))].join(", ")), words2("Status", (run) => words(run.status)), words2("Gate", passed),
    number("Sub-tasks asked", (run) => run.coverage.asked, undefined, null), number("Useful", (run) => run.coverage.useful, undefined, false), number("Missing", (run) => run.coverage.missing),
    number("Not merged", (run) => run.unmerged.length), number("Wall time", (run) => run.wall_ms, clock), number("Critical steps", (run) => run.critical_steps), number("All steps", (run) => run.total_steps),
    number("Attempts", (run) => run.n_subagents, undefined, null), number("At once at most", (run) => run.peak_concurrency, undefined, null), number("Prompt tokens", (run) => run.prompt_tokens, count), number("Completion tokens", (run) => run.completion_tokens, count),
    number("Cached tokens", (run) => run.cached_tokens, count, false), number("Calls", (run) => run.calls), number("Failed calls", (run) => run.agents.reduce((sum, agent) => sum + agent.failed_calls, 0)),
    number("Cost", (run) => run.cost_usd, dollars), number("Waiting for admission", (run) => run.agents.reduce((sum, agent) => sum + agent.wait_ms, 0), clock), number("Files changed", (run) => run.patch.files.length, undefined, null)];
  const changed = Object.keys({ ...a.config, ...b.config }).filter((name) => JSON.stringify(a.config[name]) !== JSON.stringify(b.config[name]));
  return h("section", {}, h("h3", {}, "Figures"), table([{ name: "" }, { name: `A: ${a.id}`, number: true }, { name: `B: ${b.id}`, number: true }, { name: "Difference", number: true }], rows, "deltas"),
    changed.length > 0 && fold(`Settings that differ: ${changed.length}`, () => table([{ name: "Setting" }, { name: "A" }, { name: "B" }], changed.map((name) => [name, h("code", {}, JSON.stringify(a.config[name]) ?? "—"), h("code", {}, JSON.stringify(b.config[name]) ?? "—")])), changed.length < 8));
}

function subtasksBeside(a, b) {
  const find = (run, id) => run.graph.nodes.find((node) => node.id === id);
  const ids = [...new Set([...a.graph.nodes, ...b.graph.nodes].map((node) => node.id))];
  if (!ids.length) return null;
  const sum = (run, node, of) => (node ? node.agents.reduce((all, index) => all + of(run.agents[index]), 0) : null);
  const cells = (run, node) => (node ? [h("span", {}, subtaskLinkIn(run, node)), count(sum(run, node, (agent) => agent.prompt + agent.completion))] : ["not planned", ""]);
  const rows = ids.map((id) => ({ id, one: find(a, id), other: find(b, id) }));
  const differs = rows.filter(({ one, other }) => !one || !other || one.state !== other.state);
  const shown = (some) => table([{ name: "Sub-task" }, { name: "A" }, { name: "Tokens", number: true }, { name: "B" }, { name: "Tokens", number: true }],
    some.map(({ id, one, other }) => [h("span", {}, id, h("span", { class: "title" }, (one || other).title)), ...cells(a, one), ...cells(b, other)]));
  return h("section", {}, h("h3", {}, "Sub-tasks"), h("p", {}, `${differs.length} of ${ids.length} ended in another way, or stand in one plan alone.`),
    differs.length > 0 && fold("Those that differ", () => shown(differs), differs.length <= 40), fold("All of them", () => shown(rows)));
}

function subtaskLinkIn(run, node) {
  return h("button", { type: "button", class: "link", onclick: () => openSubtask(run, node.id) }, badge(node.state));
}

function differencesPart() {
  const all = PAGE.differences;
  if (!all.length) return h("section", {}, h("h3", {}, "Patches"), h("p", {}, "Neither changed anything."));
  const names = { same: "the same in both", differs: "differs", first: "only A changed it", second: "only B changed it" };
  const tally = Object.entries(names).map(([how, name]) => [name, all.filter((each) => each.how === how).length]).filter(([, number]) => number);
  const row = ([how, one, other]) => h("tr", { class: how === "=" ? undefined : "changed" }, [one, other].map((line) => h("td", { class: `code${line[0] === "+" ? " plus" : line[0] === "-" ? " minus" : ""}` }, line)));
  return h("section", {}, h("h3", {}, "Patches"), h("p", {}, tally.map(([name, number]) => `${number} ${name}`).join(", "), "."),
    long(all.filter((each) => each.how !== "same").map((each) => fold([h("code", {}, each.name), h("span", { class: "by" }, ` ${names[each.how]}`)], async () => h("div", { class: "scroll" }, h("table", { class: "diff beside" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "A"), h("th", { scope: "col" }, "B"))), h("tbody", {}, (await unpack(each.body)).map(row)))), false, { class: "file", "data-file": each.name })), "Those that differ"),
    long(all.filter((each) => each.how === "same").map((each) => h("div", { class: "file plain" }, h("code", {}, each.name), ` ${names[each.how]}`)), "Those that are the same"));
}

/** Some things, or a fold with them where they are many. */
function long(things, title) {
  return things.length > 20 ? fold(`${title}: ${things.length}`, () => things) : things;
}

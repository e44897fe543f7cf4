// The summary of a run.

function overview(run) {
  return h("div", {},
    h("h2", {}, "Overview"),
    banners(run),
    figures(run),
    outcomeBar(run),
    h("section", {}, h("h3", {}, "Task"), longText(run.task, 12)),
    run.answer && h("section", {}, h("h3", {}, "Answer"), longText(run.answer.trim(), 24)),
    missing(run),
    stages(run),
    warnings(run),
    settings(run));
}

function banners(run) {
  const said = [];
  if (run.state) said.push(h("p", { class: "banner warning", role: "note" }, run.state));
  if (run.error) said.push(h("div", { class: "banner bad", role: "note" }, h("strong", {}, "Why it is not completed: "), run.error));
  if (run.dry_run) said.push(h("p", { class: "banner", role: "note" }, "A dry run: planned, and nothing of it run."));
  return said;
}

/** The last word of the gate. */
function verdict(run) {
  return run.gates.filter((each) => each.passed !== null && each.purpose === "verdict").at(-1);
}

function card(name, value, more, state) {
  return h("div", { class: `card${state ? ` s-${state}` : ""}` },
    h("div", { class: "name" }, name), h("div", { class: "value" }, value), h("div", { class: "more-text" }, more));
}

function figures(run) {
  const gate = verdict(run);
  const { asked, useful, missing: without } = run.coverage;
  const added = run.patch.files.reduce((sum, file) => sum + file.added, 0);
  const removed = run.patch.files.reduce((sum, file) => sum + file.removed, 0);
  const attempts = Object.entries(run.attempts).map(([name, number]) => `${number} ${words(name)}`).join(", ");
  return h("div", { class: "cards" },
    card("Status", words(run.status), run.exit_code === null ? "no end in its record" : `exit code ${run.exit_code}`, run.status),
    run.dry_run ? card("Sub-tasks planned", asked, "and none of them run") : card("Sub-tasks useful", `${useful} of ${asked}`, without ? `${without} missing` : "none missing", asked && (without ? "failed" : "completed")),
    gate ? card(gate.stage ? "Gate" : "Gate, on the base alone", gate.passed ? "passed" : "failed", gate.reason || gate.command, gate.passed ? "completed" : "failed")
      : card("Gate", "none", "no test command"),
    card("Patch", run.patch.files.length ? many(run.patch.files.length, "file") : "nothing changed",
      run.patch.files.length ? `+${added.toLocaleString("en")} −${removed.toLocaleString("en")} lines` : ""),
    card("Wall time", clock(run.wall_ms), run.started ? new Date(run.started * 1000).toLocaleString() : ""),
    card("Critical steps", `${run.critical_steps} of ${run.total_steps}`,
      run.critical_steps ? `${(run.total_steps / run.critical_steps).toFixed(1)} steps at a time` : ""),
    card("Agents", many(run.n_subagents, "attempt"), `${run.peak_concurrency} at once at most${attempts ? `; ${attempts}` : ""}`),
    card("Tokens", count(run.prompt_tokens + run.completion_tokens),
      `${count(run.prompt_tokens)} in (${percent(run.cached_tokens, run.prompt_tokens)} cached), ${count(run.completion_tokens)} out, ${many(run.calls, "call")}`),
    card("Cost", dollars(run.cost_usd), run.cost_usd === null ? `no price for ${run.unpriced.join(", ") || "a model"}` : ""));
}

function outcomeBar(run) {
  const states = {};
  for (const node of run.graph.nodes) states[node.state] = (states[node.state] || 0) + 1;
  const entries = Object.entries(states).sort((a, b) => b[1] - a[1]);
  if (!entries.length) return null;
  const label = entries.map(([name, number]) => `${number} ${words(name)}`).join(", ");
  const bar = h("div", { class: "outcomes", role: "img", "aria-label": `Sub-tasks: ${label}` });
  for (const [name, number] of entries) {
    const part = h("div", { class: `s-${name}` });
    part.style.flexGrow = number;
    bar.append(part);
  }
  return h("section", {}, h("h3", {}, "What became of the sub-tasks"), bar,
    h("p", { class: "legend" }, entries.map(([name, number]) => badge(name, `${number} ${words(name)}`))));
}

function missing(run) {
  const names = Object.entries(run.missing);
  if (!names.length || run.dry_run) return null;
  const rows = names.map(([name, why]) => [subtaskLink(run, name), why, (run.graph.nodes.find((node) => node.id === name) || {}).why || ""]);
  const shown = table([{ name: "Sub-task" }, { name: "End" }, { name: "Why" }], rows);
  return h("section", {}, h("h3", {}, `Missing: ${names.length}`), rows.length > 12 ? fold("Show them", () => shown) : shown);
}

function stages(run) {
  if (!run.stages.length) return null;
  const rows = run.stages.map((stage) => [stage.number, stage.subtasks, clock((stage.end ?? run.wall_ms) - stage.start),
    stage.main_steps, stage.longest, stage.rationale]);
  return h("section", {}, h("h3", {}, "Stages"), table([{ name: "Stage", number: true }, { name: "Sub-tasks", number: true }, { name: "Time", number: true },
    { name: "Orchestrator’s steps", number: true }, { name: "Most of one sub-task", number: true }, { name: "Why so" }], rows));
}

function warnings(run) {
  const said = run.entries.filter((entry) => entry.warning && ["notice", "gap", "budget", "resumed"].includes(entry.kind));
  if (!said.length) return null;
  const list = (some) => h("ul", {}, some.map((entry) => h("li", {}, entry.text)));
  return h("section", {}, h("h3", {}, `Warnings: ${said.length}`), list(said.slice(0, 10)),
    said.length > 10 && fold(`${said.length - 10} more`, () => list(said.slice(10))));
}

function settings(run) {
  const flat = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value));
  const set = Object.entries(run.config).filter(([, value]) => value !== null && flat(value) !== "[]" && flat(value) !== "{}");
  return h("section", {}, h("h3", {}, "How it was run"),
    facts([["Run", run.id], ["Mode", run.mode], ["Repository", run.repo], ["Commit", run.head], ["Seed", run.seed],
      ["swarm", run.version], ...Object.entries(run.models).map(([role, model]) => [`Model, ${role}`, `${model} at ${run.endpoints[role] || "?"}`])]),
    fold("Configuration", () => table([{ name: "Setting" }, { name: "Value" }], set.map(([name, value]) => [name, h("code", {}, flat(value))]))));
}

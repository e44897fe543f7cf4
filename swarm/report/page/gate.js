// What the gate said, each time.

function gate(run) {
  if (!run.gates.length) return h("div", {}, h("h2", {}, "Gate"), h("p", {}, "No gate was run."));
  const last = run.gates.findLastIndex((each) => each.passed === false);
  return h("div", {}, h("h2", {}, "Gate"), h("p", { class: "hint" }, "The command that the merged tree must pass, on the base first."), run.gates.map((each, index) => gateRun(each, index === last)));
}

function gateRun(each, open) {
  const state = each.passed === null ? "waiting" : each.passed ? "completed" : each.timed_out ? "timed_out" : "failed";
  const name = { affected: "Affected tests", search: "Search for a culprit" }[each.purpose] || "Gate";
  const where = each.stage ? `after stage ${each.stage}` : "on the base";
  const how = each.passed === null ? (each.reason || "not ended") : each.passed ? "passed" : each.timed_out ? "timed out" : `failed with exit code ${each.exit_code}`;
  const lists = [["Broken (not red on the base)", each.broken, "failed"], ["Red", each.failed.filter((test) => !each.broken.includes(test)), "failed"], ["Mended", each.fixed, "completed"], ["Flaky: red, then green on the same tree", each.flaky, "timed_out"]];
  return h("section", { class: "gate-run" }, h("h3", {}, `${name} ${where}${each.attempt > 1 ? `, run ${each.attempt}` : ""} `, badge(state, how)),
    facts([["Command", h("code", {}, each.command)], ["Time", each.passed === null ? "" : clock(each.seconds * 1000)], ["Commit", each.commit && h("code", {}, each.commit.slice(0, 12))], ["Tests run", each.ran], ["Whole output", each.artifact && `artifacts/${each.artifact}.txt`], ["Settled", each.settled ? "" : "no: what is red is run once more"]]),
    each.passed !== null && each.reason && h("p", {}, `${each.reason[0].toUpperCase()}${each.reason.slice(1)}.`),
    lists.filter(([, tests]) => tests.length).map(([title, tests, colourOf]) => fold([badge(colourOf, `${tests.length}`), ` ${title}`], () => h("ul", { class: "tests" }, tests.map((test) => h("li", {}, h("code", {}, test)))), tests.length <= 20)),
    each.output >= 0 && fold("Output", async () => longText(await unpack(each.output), 400, "text output"), open));
}

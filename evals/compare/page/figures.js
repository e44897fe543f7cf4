// The figures of the arms: success, price, differences, failures, and how they were made.

function notesPart() {
  return PAGE.notes.length ? [h("ul", { class: "banner warning notes", "aria-label": "To be known before" }, PAGE.notes.map((note) => h("li", {}, note)))] : [];
}

function armsPart() {
  const success = SHOWN.filter((metric) => metric.form === "share");
  const again = PAGE.arms.some((arm) => arm.trials > PAGE.instances.length);
  const heads = [{ name: "Arm" }, { name: "Trials", number: true }, ...success.flatMap((metric) => (metric.name === "score" && again ? ["Score avg@N", "max@N", "min@N"] : [metric.title])).map((name) => ({ name, number: true })),
    { name: "Verdicts", number: true }, { name: "Lost to the machine", number: true }, { name: "Not run", number: true }, { name: "Spent", number: true }];
  const rows = PAGE.arms.map((arm) => [armName(arm), arm.trials.toLocaleString("en"),
    ...success.flatMap((metric) => [estimate(arm.figures[metric.name].mean, "share"), ...(metric.name === "score" && again ? [estimate(arm.best_score, "share"), estimate(arm.worst_score, "share")] : [])]),
    `${arm.coverage.graded} of ${arm.coverage.asked}`, marked(arm.coverage.machine), marked(arm.coverage.missing), figure(arm.spent_usd, "dollars")]);
  return section("arms", "Success", table(heads, rows, "figures"),
    h("p", { class: "hint" }, `Success is that on the ${many(PAGE.instances.length, "instance")} on which all arms have a verdict, with ${+(100 * PAGE.confidence).toPrecision(4)} % intervals. What the machine lost is no verdict: it counts neither for nor against a model.`));
}

function armName(arm) {
  return h("span", {}, h("strong", {}, arm.label), h("span", { class: "title" }, [arm.model, arm.agents > 1 ? `${arm.agents} agents at once` : "one agent at a time", arm.label === PAGE.base && PAGE.arms.length > 1 && "the base"].filter(Boolean).join(" · ")));
}

const marked = (number) => (number ? h("span", { class: "worse" }, String(number)) : "0");

function pricesPart() {
  const prices = SHOWN.filter((metric) => metric.form !== "share");
  if (!prices.length) return null;
  const cell = (arm, metric) => {
    const shown = arm.figures[metric.name];
    if (shown.mean.value === null) return "unknown";
    return h("span", { class: "estimate" }, figure(shown.mean.value, metric.form), h("span", { class: "title" }, `${figure(shown.median, metric.form)} · ${figure(shown.p90, metric.form)}`), shown.unknown > 0 && h("span", { class: "title" }, `${shown.unknown} unknown`));
  };
  return section("prices", "Price of a trial", table([{ name: "" }, ...PAGE.arms.map((arm) => ({ name: arm.label, number: true }))], prices.map((metric) => [metric.title, ...PAGE.arms.map((arm) => cell(arm, metric))]), "figures"),
    h("p", { class: "hint" }, "The mean; below it the median and what 90 % of the trials stay under. Wall clock depends on how many ran at once; critical steps do not."));
}

function picturesPart() {
  if (!PAGE.pictures.length) return null;
  return section("pareto", "Success against price", h("div", { class: "pictures" }, PAGE.pictures.map(pareto)),
    h("p", { class: "hint" }, "Up and to the left is better. The line leads through the arms that no other beats: none succeeds as often for less. Thin lines are intervals: where they overlap widely, the order of two arms may be chance."));
}

function differencesPart() {
  if (!PAGE.differences.length) return null;
  const several = PAGE.arms.length > 2;
  const box = h("div", {});
  const choice = h("select", { id: "metric" }, SHOWN.map((metric) => h("option", { value: metric.name }, metric.title)));
  const draw = () => {
    const metric = METRICS[choice.value];
    const mine = PAGE.differences.filter((each) => each.metric === metric.name);
    const reach = Math.max(...mine.flatMap((each) => [each.difference.value, each.difference.low, each.difference.high]).map((value) => Math.abs(value ?? 0)));
    const heads = [{ name: `Less ${PAGE.base}` }, { name: "Difference", number: true }, { name: "" }, { name: "Ratio", number: true }, { name: "p", number: true }, ...(several ? [{ name: "p, Holm", number: true }] : []), { name: "Test" }, { name: "Pairs", number: true }];
    box.replaceChildren(table(heads, mine.map((each) => [h("strong", {}, each.arm), change(each, metric.form), whiskers(each, reach), each.ratio === null ? "" : `×${each.ratio.toFixed(2)}`, pValue(each.p), ...(several ? [pValue(each.p_holm)] : []), each.test, String(each.instances)]), "figures"));
  };
  choice.addEventListener("change", draw);
  draw();
  return section("differences", "Differences", h("p", { class: "tools" }, h("label", { for: "metric" }, "Metric "), choice), box,
    h("p", { class: "hint" }, "Paired by instance, so that hard instances cancel out. Intervals by the bootstrap over instances; trials of one instance count as one.", several && " Holm's p takes into account that several arms are held against one."));
}

function change(each, form) {
  const { value, low, high } = each.difference;
  if (value === null) return "unknown";
  return h("span", { class: `estimate ${sense(each)}` }, `${signed(value, form)}${form === "share" ? " points" : ""}`, low !== null && h("span", { class: "title" }, `${signed(low, form)} to ${signed(high, form)}`));
}

function passPart() {
  const ks = [...new Set(PAGE.arms.flatMap((arm) => Object.keys(arm.pass_at).map(Number)))].sort((a, b) => a - b);
  if (!ks.length || (ks.length === 1 && ks[0] === 1)) return null;
  const rows = ["pass_at", "pass_all"].flatMap((way) => ks.map((k) => [`${way === "pass_at" ? "pass@" : "pass^"}${k}`,
    ...PAGE.arms.map((arm) => (arm[way][k] ? h("span", {}, estimate(arm[way][k], "share"), arm.short[k] > 0 && h("span", { class: "title" }, `without ${many(arm.short[k], "instance")}`)) : "–"))]));
  return section("pass", "pass@k and pass^k", ks.length > 1 && passCurves(), fold("As a table", () => table([{ name: "" }, ...PAGE.arms.map((arm) => ({ name: arm.label, number: true }))], rows, "figures"), ks.length <= 4),
    h("p", { class: "hint" }, "Both without bias, from all trials of each instance. An instance with fewer verdicts than k is left out at that k."));
}

function failuresPart() {
  const part = (title, of) => {
    const names = [...new Set(PAGE.arms.flatMap((arm) => Object.keys(of(arm))))];
    const most = Math.max(...PAGE.arms.flatMap((arm) => Object.values(of(arm))));
    const cell = (number) => h("span", {}, String(number), s("svg", { class: "count", viewBox: "0 0 80 4", width: 80, height: 4, "aria-hidden": "true" }, s("rect", { width: (80 * number) / most, height: 4, rx: 2 })));
    return names.length > 0 && h("div", {}, h("h3", {}, title), table([{ name: "" }, ...PAGE.arms.map((arm) => ({ name: arm.label, number: true }))], names.map((name) => [words(name), ...PAGE.arms.map((arm) => cell(of(arm)[name] || 0))]), "figures"));
  };
  const parts = [part("Not resolved, by kind", (arm) => arm.by_kind), part("Not resolved, by how the run ended", (arm) => arm.by_status), part("Sub-tasks of all trials, by outcome", (arm) => arm.subtasks), part("Lost to the machine: no verdicts", (arm) => arm.machine)].filter(Boolean);
  return parts.length ? section("failures", "Failures", parts) : null;
}

function madePart() {
  const made = ({ folder, manifest }) => h("div", {}, h("h3", {}, folder), facts([["Suite", `${manifest.suite} ${manifest.version}`], ["Instances", String(manifest.instances.length)], ["Trials of each", String(manifest.epochs)], ["Seed", manifest.seed === null ? "none" : String(manifest.seed)],
    ["Versions", Object.entries(manifest.versions).map(([name, version]) => `${name} ${version}`).join(", ")], ["Started", manifest.started ? new Date(1000 * manifest.started).toISOString().slice(0, 16).replace("T", " ") + " UTC" : ""]]),
    manifest.command.length > 0 && h("pre", { class: "text", tabindex: "0" }, manifest.command.map(quoted).join(" ")),
    fold("Everything that was written down", () => longText(JSON.stringify(manifest, null, 2), 60)));
  return section("made", "How it was made", PAGE.sources.map(made));
}

/** As one would type it. */
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

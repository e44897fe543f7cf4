// Each instance: what each arm did on it, and which flipped against the base.

const FLIPS = { all: "All", differ: "Where arms differ", won: "Won", lost: "Lost", both: "Both", neither: "Neither", mixed: "As often", machine: "Lost to the machine", apart: "Not shared" };
const FIRST = 200;

/** What an arm does on an instance against the base. */
function flip(base, other) {
  if (!base.graded || !other.graded) return "";
  const [before, after] = [base.resolved / base.graded, other.resolved / other.graded];
  if (before !== after) return after > before ? "won" : "lost";
  return before === 0 ? "neither" : before === 1 ? "both" : "mixed";
}

function instancesPart() {
  const base = PAGE.arms.findIndex((arm) => arm.label === PAGE.base);
  const arms = PAGE.arms.map((arm, index) => [arm.label, index]).filter(([, index]) => index !== base);
  const against = h("select", { id: "against" }, arms.map(([name, index]) => h("option", { value: String(index) }, name)));
  const kind = h("select", { id: "kind" }, Object.entries(FLIPS).filter(([name]) => arms.length || ["all", "machine"].includes(name)).map(([name, title]) => h("option", { value: name }, title)));
  const search = h("input", { type: "search", id: "search", placeholder: "instance", "aria-label": "Only instances with this in their name" });
  const box = h("div", {});
  const told = h("span", { class: "hint", role: "status" });
  let most = FIRST;
  const chosen = (row) => {
    if (!row.instance_id.toLowerCase().includes(search.value.toLowerCase())) return false;
    if (kind.value === "all") return true;
    if (kind.value === "machine") return row.cells.some((cell) => cell.machine);
    if (kind.value === "apart") return !row.shared;
    if (kind.value === "differ") return row.shared && new Set(row.cells.map((cell) => cell.resolved / cell.graded)).size > 1;
    return row.shared && flip(row.cells[base], row.cells[Number(against.value)]) === kind.value;
  };
  const draw = () => {
    const rows = PAGE.rows.filter(chosen);
    const shown = rows.slice(0, most);
    told.textContent = many(rows.length, "instance");
    box.replaceChildren(...[table([{ name: "Instance" }, ...PAGE.arms.map((arm) => ({ name: arm.label }))], shown.map((row) => [h("span", { class: row.shared ? undefined : "apart" }, row.instance_id, !row.shared && h("span", { class: "title" }, "not shared")),
      ...row.cells.map((cell, index) => instanceCell(cell, row.shared && index !== base && arms.length ? flip(row.cells[base], cell) : ""))]), "instances"),
      rows.length > shown.length && button(`Show all ${rows.length.toLocaleString("en")}`, () => { most = Infinity; draw(); })].filter(Boolean));
  };
  for (const control of [against, kind, search]) control.addEventListener("input", draw);
  draw();
  return section("instances", "Instances", PAGE.flips.length > 0 && flipsTable(), h("p", { class: "tools" }, h("label", { for: "kind" }, "Show "), kind, arms.length > 1 && [h("label", { for: "against" }, " of "), against], search, told), box,
    h("p", { class: "hint" }, "✓ resolved, ✗ not, ! lost to the machine; 2/4 of several trials. A mark leads to the folder of its run (swarm show, swarm report read it). ▲ won and ▼ lost are against the base."));
}

function flipsTable() {
  const heads = ["Arm", "Won", "Lost", "Both", "Neither", "As often"].map((name, index) => ({ name, number: index > 0 }));
  return table(heads, PAGE.flips.map((each) => [h("strong", {}, each.arm), h("span", { class: "better" }, String(each.won)), h("span", { class: "worse" }, String(each.lost)), String(each.both), String(each.neither), String(each.mixed)]), "figures");
}

function instanceCell(cell, how) {
  const marks = cell.runs.map(([run, end, link]) => {
    const sign = { resolved: "✓", machine: "!" }[end] || "✗";
    const properties = { class: `mark ${end.replace(" ", "-")}`, title: `${end}${run ? `: ${run}` : ""}` };
    return link ? h("a", { ...properties, href: link, "aria-label": `${end}: the run's folder` }, sign) : h("span", properties, sign, h("span", { class: "hidden" }, ` ${end}`));
  });
  const figures = [cell.cost_usd && dollars(cell.cost_usd), cell.wall_s !== null && cell.graded && clock(1000 * cell.wall_s)].filter(Boolean).join(" · ");
  return h("span", {}, h("span", { class: "marks" }, marks, cell.graded > 1 && h("span", { class: "tally" }, ` ${cell.resolved}/${cell.graded}`), how === "won" && h("span", { class: "better" }, " ▲"), how === "lost" && h("span", { class: "worse" }, " ▼")), figures && h("span", { class: "title" }, figures));
}

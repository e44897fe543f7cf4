// The patch with who wrote what, and what was not merged.

const LINES = 1500;

function patch(run) {
  const files = run.patch.files;
  const lines = files.reduce((sum, file) => sum + file.lines, 0);
  const view = { author: "", find: "" };
  const list = h("div", {});
  const names = [...new Set(files.flatMap((file) => file.authors))];
  const fillList = () => {
    const shown = files.filter((file) => (!view.author || file.authors.includes(view.author)) && file.name.toLowerCase().includes(view.find));
    list.replaceChildren(...shown.map((file) => filePatch(run, file, lines <= 400 || shown.length === 1)));
  };
  const author = h("select", { "aria-label": "Who wrote it", onchange: () => {
    view.author = author.value;
    fillList();
  } }, h("option", { value: "" }, "By anyone"), names.map((name) => h("option", { value: name }, name)));
  const find = h("input", { type: "search", placeholder: "Filter files", "aria-label": "Filter files", oninput: () => {
    view.find = find.value.trim().toLowerCase();
    fillList();
  } });
  fillList();
  const left = unmergedPart(run);
  return h("div", {}, h("h2", {}, "Patch"),
    run.patch.note && h("p", { class: "banner warning" }, `Note: ${run.patch.note}.`),
    files.length ? [h("p", { class: "hint" }, `${many(files.length, "file")}. At each line stands the sub-task that wrote it.`), h("div", { class: "tools" }, files.length > 8 && find, names.length > 1 && author,
      button("Open all", () => list.querySelectorAll("details").forEach((each) => { each.open = true; })), button("Close all", () => list.querySelectorAll("details").forEach((each) => { each.open = false; })),
      left && button(`Not merged: ${run.unmerged.length}`, () => left.scrollIntoView())), list]
      : h("p", {}, "Nothing was changed."),
    left);
}

function filePatch(run, file, open) {
  const figures = file.binary ? "binary" : `+${file.added} −${file.removed}`;
  const by = file.authors.length ? `by ${file.authors.slice(0, 4).join(", ")}${file.authors.length > 4 ? ` and ${file.authors.length - 4} more` : ""}` : "";
  const summary = [h("code", {}, file.name), " ", file.change !== "changed" && h("span", { class: "change" }, `${file.change === "mode" ? "mode changed" : file.change} `), h("span", { class: "figures" }, figures), " ", h("span", { class: "by" }, by)];
  if (file.body < 0) return h("div", { class: "file plain" }, summary);
  return fold(summary, async () => hunks(run, await unpack(file.body)), open, { class: "file", "data-file": file.name });
}

function hunks(run, parts) {
  const body = h("tbody", {});
  const rows = parts.flatMap((hunk) => hunkRows(run, hunk));
  body.append(...rows.slice(0, LINES).map((make) => make()));
  const shown = h("div", { class: "scroll" }, h("table", { class: "diff" }, h("caption", { class: "hidden" }, "Lines of the patch: who, old and new line number, text"), body));
  if (rows.length <= LINES) return shown;
  const more = button(`Show all ${rows.length.toLocaleString("en")} lines`, () => {
    body.append(...rows.slice(LINES).map((make) => make()));
    more.remove();
  }, undefined, { class: "more" });
  return [shown, more];
}

function hunkRows(run, hunk) {
  let [before, after] = [hunk.old, hunk.new];
  let last = "";
  const head = () => h("tr", { class: "hunk" }, h("td", { colspan: "4" }, `line ${hunk.new}${hunk.head ? `  ${hunk.head}` : ""}`));
  return [head, ...hunk.lines.map(([kind, text, author]) => {
    const numbers = [kind === "+" || kind === "\\" ? "" : before, kind === "-" || kind === "\\" ? "" : after];
    if (kind === " " || kind === "-") before += 1;
    if (kind === " " || kind === "+") after += 1;
    const named = author && author !== last;
    last = kind === " " ? "" : author;
    return () => h("tr", { class: { "+": "plus", "-": "minus" }[kind] }, h("td", { class: "who", "data-author": author || undefined }, named ? subtaskLink(run, author) : ""),
      numbers.map((number) => h("td", { class: "line" }, number)), h("td", { class: "code" }, h("span", { class: "sign" }, kind === "\\" ? "" : kind), text));
  })];
}

function unmergedPart(run) {
  if (!run.unmerged.length) return null;
  return h("section", {}, h("h3", {}, `Not merged: ${run.unmerged.length}`), run.unmerged.map((each) => fold([h("code", {}, each.subtask), " ", h("span", { class: "by" }, cut(each.reason, 160))],
    () => [h("p", {}, subtaskLink(run, each.subtask), `: ${each.reason}`), each.against.length > 0 && h("p", {}, "Against ", each.against.map((name) => [subtaskLink(run, name), " "])),
      each.tests.length > 0 && fold(`Tests that break: ${each.tests.length}`, () => h("ul", { class: "tests" }, each.tests.map((test) => h("li", {}, h("code", {}, test)))), true), each.patch.note && h("p", { class: "hint" }, each.patch.note), ...each.patch.files.map((file) => filePatch(run, file, true))].filter(Boolean), false, { class: "file unmerged" })));
}

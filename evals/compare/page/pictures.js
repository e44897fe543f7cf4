// Pictures: success against its price, pass@k, and small intervals. All are SVG; the style sheet colours them.

const WIDE = 620, HIGH = 400, LEFT = 62, RIGHT = 20, TOP = 20, BOTTOM = 52;

const CLOCK = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

/** Numbers that divide a range well; of seconds those that a clock has. */
function ticks(low, high, about, form) {
  const raw = (high - low) / about;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = (form === "seconds" && CLOCK.find((each) => raw > 0.5 && each >= raw * 0.999)) || [1, 2, 2.5, 5, 10].map((each) => each * size).find((each) => each >= raw * 0.999);
  const all = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) all.push(Number((n * step).toPrecision(12)));
  return all;
}

/** A scale for what is to be drawn: linear, or logarithmic where it spans more than a power of ten. */
function scale(values, from, to, { share, zero, form } = {}) {
  let low = Math.min(...values), high = Math.max(...values);
  const log = !share && low > 0 && high / low > 10;
  if (log) {
    low /= 1.25;
    high *= 1.25;
    const place = (value) => from + ((Math.log(Math.max(value, low)) - Math.log(low)) / (Math.log(high) - Math.log(low))) * (to - from);
    const marks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) for (const n of [1, 2, 5]) marks.push(n * 10 ** power);
    if (form === "seconds" && low >= 1) marks.splice(0, marks.length, ...CLOCK);
    return { place, marks: marks.map((mark) => Number(mark.toPrecision(6))).filter((mark) => mark >= low && mark <= high), log };
  }
  if (zero) low = 0;
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  low = share ? Math.max(0, low - room) : low === 0 ? 0 : low - room;
  high = share ? Math.min(1, high + room) : high + room;
  return { place: (value) => from + ((value - low) / (high - low)) * (to - from), marks: ticks(low, high, 6, form), log };
}

function axes(xs, ys, xTitle, yTitle, xForm, yForm) {
  const bottom = HIGH - BOTTOM;
  return s("g", { class: "axes" },
    ys.marks.map((mark) => s("g", {}, s("line", { class: "grid", x1: LEFT, x2: WIDE - RIGHT, y1: ys.place(mark), y2: ys.place(mark) }),
      s("text", { x: LEFT - 8, y: ys.place(mark) + 4, "text-anchor": "end" }, tickText(mark, yForm)))),
    xs.marks.map((mark) => s("g", {}, s("line", { class: "tick", x1: xs.place(mark), x2: xs.place(mark), y1: bottom, y2: bottom + 5 }),
      s("text", { x: xs.place(mark), y: bottom + 18, "text-anchor": "middle" }, tickText(mark, xForm)))),
    s("line", { class: "axis", x1: LEFT, x2: WIDE - RIGHT, y1: bottom, y2: bottom }),
    s("text", { class: "name", x: (LEFT + WIDE - RIGHT) / 2, y: HIGH - 10, "text-anchor": "middle" }, xTitle),
    s("text", { class: "name", x: -(TOP + bottom) / 2, y: 14, "text-anchor": "middle", transform: "rotate(-90)" }, yTitle));
}

function tickText(value, form) {
  if (form === "share") return `${Math.round(100 * value)} %`;
  if (form === "dollars") return `$${Number(value.toPrecision(3))}`;
  if (form === "seconds") return value < 60 ? `${Number(value.toPrecision(3))} s` : clock(1000 * value);
  return value < 1000 ? String(Number(value.toPrecision(3))) : count(value);
}

/** Where each label goes: beside its point, where it meets no other label, no point and no edge. */
function labels(points) {
  const taken = points.map(({ x, y }) => ({ left: x - 7, right: x + 7, top: y - 7, bottom: y + 7 }));
  const free = (box) => box.left > LEFT && box.right < WIDE - 2 && box.top > 0 && box.bottom < HIGH - BOTTOM && !taken.some((other) => box.left < other.right && box.right > other.left && box.top < other.bottom && box.bottom > other.top);
  return points.map(({ x, y, text }) => {
    const wide = text.length * 6.9 + 4;
    const boxes = [10, 20, 32, 46].flatMap((far) => [[9, -far, "start"], [9, far + 2, "start"], [-9, -far, "end"], [-9, far + 2, "end"], [0, -far - 6, "middle"], [0, far + 10, "middle"]])
      .map(([dx, dy, anchor]) => {
        const left = anchor === "start" ? x + dx : anchor === "end" ? x + dx - wide : x - wide / 2;
        return { anchor, x: x + dx, y: y + dy + 4, left, right: left + wide, top: y + dy - 7, bottom: y + dy + 8 };
      });
    const box = boxes.find(free) || boxes[0];
    taken.push(box);
    return { ...box, far: Math.abs(box.y - y) > 24 };
  });
}

/** Success against a price: intervals as thin lines, the frontier as a line of steps. */
function pareto(picture) {
  const price = METRICS[picture.x], success = METRICS[picture.y];
  const bounds = (way) => picture.points.flatMap((point) => [point[way].value, point[way].low, point[way].high]).filter((value) => value !== null);
  const xs = scale(bounds("x"), LEFT, WIDE - RIGHT, { zero: true, form: price.form });
  const ys = scale(bounds("y"), HIGH - BOTTOM, TOP, { share: true });
  const points = picture.points.map((point) => ({ ...point, text: cut(point.arm, 26), px: xs.place(point.x.value), py: ys.place(point.y.value) }));
  const places = labels(points.map(({ px, py, text }) => ({ x: px, y: py, text })));
  const best = points.filter((point) => point.best).sort((a, b) => a.px - b.px);
  const line = best.map((point, index) => (index ? `H${point.px}V${point.py}` : `M${point.px} ${point.py}`)).join("");
  const tail = best.length ? `${line}H${WIDE - RIGHT}` : "";
  const title = `${success.title} against ${price.title.toLowerCase()}`;
  const told = best.length === points.length ? "No arm beats another." : `Not beaten: ${best.map((point) => point.arm).join(", ")}, by the means over n = ${PAGE.instances.length}.`;
  return h("figure", { class: "picture" },
    s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": `${title}. ${told}` },
      axes(xs, ys, `${price.title} a trial, mean${xs.log ? " (logarithmic)" : ""}`, success.title, price.form, "share"),
      s("path", { class: "frontier", d: tail }),
      points.map((point, index) => s("g", { class: point.best ? "point best" : "point" },
        point.x.low !== null && s("line", { class: "whisker", x1: xs.place(point.x.low), x2: xs.place(point.x.high), y1: point.py, y2: point.py }),
        point.y.low !== null && s("line", { class: "whisker", x1: point.px, x2: point.px, y1: ys.place(point.y.low), y2: ys.place(point.y.high) }),
        places[index].far && s("line", { class: "leader", x1: point.px, y1: point.py, x2: places[index].x, y2: places[index].y - 4 }),
        s("circle", { cx: point.px, cy: point.py, r: 5.5 }, s("title", {}, `${point.arm}: ${figure(point.y.value, "share")} for ${figure(point.x.value, price.form)}`)))),
      points.map((point, index) => s("text", { class: point.best ? "label best" : "label", x: places[index].x, y: places[index].y, "text-anchor": places[index].anchor }, point.text))),
    h("figcaption", {}, h("strong", {}, title), h("span", { class: "hint" }, ` ${told}`)));
}

/** pass@k (lines) and pass^k (dashes) over k. */
function passCurves() {
  const arms = PAGE.arms.filter((arm) => Object.keys(arm.pass_at).length > 1);
  const ks = [...new Set(arms.flatMap((arm) => Object.keys(arm.pass_at).map(Number)))].sort((a, b) => a - b);
  const most = ks.at(-1);
  const values = arms.flatMap((arm) => [...Object.values(arm.pass_at), ...Object.values(arm.pass_all)]).map((each) => each.value).filter((each) => each !== null);
  const wide = WIDE - 110;
  const xs = { place: (k) => LEFT + ((k - ks[0]) / Math.max(1, most - ks[0])) * (wide - LEFT), marks: ks.length > 12 ? ticks(ks[0], most, 8) : ks };
  const ys = scale(values, HIGH - BOTTOM, TOP, { share: true });
  const curve = (figures) => Object.entries(figures).map(([k, each], index) => `${index ? "L" : "M"}${xs.place(Number(k))} ${ys.place(each.value)}`).join("");
  const ends = arms.flatMap((arm) => [["pass_at", "@"], ["pass_all", "^"]].map(([way, sign]) => {
    const [k, last] = Object.entries(arm[way]).at(-1);
    return { x: xs.place(Number(k)) + 8, y: ys.place(last.value) + 4, text: `${arm.label} ${sign}${k}`, number: PAGE.arms.indexOf(arm) % 8 };
  })).sort((a, b) => a.y - b.y);
  // Labels that would meet are moved apart: down, and up again where there is no room below.
  const gap = 13;
  ends.forEach((end, index) => { if (index) end.y = Math.max(end.y, ends[index - 1].y + gap); });
  for (let index = ends.length - 1, room = HIGH - BOTTOM; index >= 0; index -= 1, room -= gap) ends[index].y = Math.min(ends[index].y, index === ends.length - 1 ? room : ends[index + 1].y - gap);
  return h("figure", { class: "picture" },
    s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": "pass@k and pass^k of each arm; the table below has the figures" },
      axes(xs, ys, "k trials", "Share of instances", "count", "share"),
      arms.map((arm) => s("g", { class: `curve c${PAGE.arms.indexOf(arm) % 8}` }, s("path", { d: curve(arm.pass_at) }), s("path", { class: "dashed", d: curve(arm.pass_all) }))),
      ends.map((end) => s("text", { class: `label c${end.number}`, x: end.x, y: end.y }, cut(end.text, 18)))),
    h("figcaption", {}, h("strong", {}, "pass@k and pass^k"), h("span", { class: "hint" }, " Lines: at least one of k trials (@). Dashes: all of k (^).")));
}

/** A difference as a bar around nothing, on one scale with its siblings. */
function whiskers(difference, reach) {
  const { value, low, high } = difference.difference;
  if (value === null) return "";
  const place = (at) => 80 + (at / (reach || 1)) * 74;
  return s("svg", { class: `whiskers ${sense(difference)}`, viewBox: "0 0 160 18", width: 160, height: 18, "aria-hidden": "true" },
    s("line", { class: "zero", x1: 80, x2: 80, y1: 0, y2: 18 }),
    low !== null && s("line", { class: "range", x1: place(low), x2: place(high), y1: 9, y2: 9 }), s("circle", { cx: place(value), cy: 9, r: 4 }));
}

// How figures of a comparison are written.

const METRICS = Object.fromEntries(PAGE.metrics.map((metric) => [metric.name, metric]));
const SHOWN = PAGE.metrics.filter((metric) => metric.name in PAGE.arms[0].figures);

function figure(value, form) {
  if (value === null || value === undefined) return "unknown";
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  if (form === "share") return `${sign}${(100 * size).toFixed(1)} %`;
  if (form === "dollars") return `${sign}${dollars(size)}`;
  if (form === "seconds") return `${sign}${clock(1000 * size)}`;
  return `${sign}${size < 10 && !Number.isInteger(size) ? size.toFixed(2) : size < 1000 ? String(Number(size.toFixed(1))) : count(size)}`;
}

/** 62.0 % and, smaller, where it may lie. */
function estimate(given, form) {
  const interval = given.low !== null && given.value !== null;
  return h("span", { class: "estimate" }, figure(given.value, form), interval && h("span", { class: "title" }, `${bare(given.low, form)} to ${bare(given.high, form)}`));
}

const bare = (value, form) => figure(value, form).replace(/ [%s]$/, "");
const signed = (value, form) => `${value > 0 ? "+" : ""}${figure(value, form).replace(/ %$/, "")}`;
const pValue = (p) => (p === null ? "" : p < 0.001 ? "< 0.001" : p.toFixed(3));

/** Whether a difference is better, worse, or may be chance. */
function sense(difference) {
  const { low, high } = difference.difference;
  const more = METRICS[difference.metric].more;
  if (more === null || low === null || (low <= 0 && high >= 0)) return "";
  return low > 0 === more ? "better" : "worse";
}

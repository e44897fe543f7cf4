// The page of a comparison: one document with its parts below each other, and links to them above.

function section(id, title, ...content) {
  return h("section", { id, class: "panel", "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), content);
}

const PARTS = [armsPart(), picturesPart(), differencesPart(), passPart(), pricesPart(), failuresPart(), instancesPart(), madePart()].filter(Boolean);

document.getElementById("main").replaceChildren(...notesPart(), ...PARTS);
const list = document.getElementById("tabs");
list.removeAttribute("role");
list.className = "links";
list.append(...PARTS.map((part) => h("a", { href: `#${part.id}` }, part.querySelector("h2").textContent)));
document.getElementById("heading").append(h("div", { class: "title-line" }, h("h1", {}, "swarm eval"), h("span", { class: "task" }, PAGE.headline), themeButton(() => {})));
// What is wider than its box can be moved with the keyboard.
for (const box of document.querySelectorAll(".scroll")) box.setAttribute("tabindex", "0");
document.documentElement.dataset.ready = String(Math.round(performance.now()));

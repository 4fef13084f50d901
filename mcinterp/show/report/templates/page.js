const DATA = JSON.parse(document.getElementById("data").textContent);
// Vega draws again what a double click sets back on a canvas only; charts without a pick are drawn as SVG.
const options = (specification) => ({
  actions: { export: true, source: false, compiled: false, editor: false }, renderer: specification.params ? "canvas" : "svg",
});
const night = matchMedia("(prefers-color-scheme: dark)");
let count = 0;

function inked(specification) {
  let text = JSON.stringify(specification);
  if (night.matches) for (const [light, dark] of Object.entries(DATA.inks)) text = text.replaceAll(`"${light}"`, `"${dark}"`);
  return JSON.parse(text);
}

function draw(box, specification) {
  box.dataset.drawn = "wait";
  return vegaEmbed(box, inked(specification), options(specification)).then(() => { box.dataset.drawn = "yes"; });
}

function show(component, box) {
  const figure = document.createElement("figure");
  const inner = document.createElement("div");
  inner.className = "mcinterp-circuit";
  inner.id = "circuitsvis-" + count++;
  if (component.caption) figure.append(Object.assign(document.createElement("figcaption"), { textContent: component.caption }));
  figure.append(inner);
  box.append(figure);
  CircuitsVis.render(inner.id, CircuitsVis[component.component], component.props);
}

function cells(prompts, prompt, lens) {
  const { columns, lenses } = prompts.cells[prompt];
  const [base, tuned] = lenses[lens];
  const choices = base.best.length / base.entropy.length;
  const best = (stage, i) => Array.from({ length: choices }, (_, k) =>
    `${prompts.strings[stage.best[i * choices + k]]} ${(stage.percent[i * choices + k] / 100).toFixed(2)}`).join(", ");
  const rows = { base: [], tuned: [], difference: [] };
  prompts.depths.forEach((depth, d) => columns.forEach((column, order) => {
    const i = d * columns.length + order;
    const place = { depth, column, order };
    const token = (stage) => prompts.strings[stage.best[i * choices]];
    for (const [panel, stage] of [["base", base], ["tuned", tuned]])
      rows[panel].push({ ...place, panel, entropy: stage.entropy[i] / 1000, token: token(stage), best: best(stage, i) });
    rows.difference.push({
      ...place, panel: "difference", entropy: (tuned.entropy[i] - base.entropy[i]) / 1000,
      token: token(base) === token(tuned) ? "" : token(tuned), best: `base: ${best(base, i)} | tuned: ${best(tuned, i)}`,
    });
  }));
  return [...rows.base, ...rows.tuned, ...rows.difference];
}

function explore(explorer) {
  const run = DATA.runs[explorer.dataset.run];
  const part = (name) => explorer.querySelector(`[data-part="${name}"]`);
  const picker = part("prompt");
  const all = [...picker.options];
  const drawGrid = () => draw(part("grid"), { ...run.grid, datasets: { cells: cells(run.prompts, picker.value, part("lens").value) } });
  function drawAttention() {
    const layers = run.attention[picker.value] || {};
    const component = layers[part("layer").value];
    part("attention").hidden = !component;
    part("patterns").replaceChildren();
    if (component) show(component, part("patterns"));
  }
  function drawPrompt() {
    if (!picker.value) return;
    for (const table of explorer.querySelectorAll(".facts")) table.hidden = table.dataset.prompt !== picker.value;
    const layers = Object.keys(run.attention[picker.value] || {});
    part("layer").replaceChildren(...layers.map((layer) => new Option(layer, layer)));
    part("tokens").replaceChildren();
    for (const component of run.prompts.tokens[picker.value]) show(component, part("tokens"));
    drawGrid();
    drawAttention();
  }
  picker.addEventListener("change", drawPrompt);
  part("lens").addEventListener("change", drawGrid);
  part("layer").addEventListener("change", drawAttention);
  part("search").addEventListener("input", () => {
    const wanted = part("search").value.toLowerCase();
    picker.replaceChildren(...all.filter((option) => option.text.toLowerCase().includes(wanted)));
    drawPrompt();
  });
  for (const button of explorer.querySelectorAll("[data-step]")) button.addEventListener("click", () => {
    const size = picker.options.length;
    picker.selectedIndex = (picker.selectedIndex + Number(button.dataset.step) + size) % size;
    drawPrompt();
  });
  drawPrompt();
  return drawPrompt;
}

const boxes = [...document.querySelectorAll(".chart")];
const explorers = new Map();
const drawBox = (box) => draw(box, DATA.charts[box.dataset.chart]);
const begin = (element) => {
  if (element.matches(".chart")) { if (!element.dataset.drawn) drawBox(element); }
  else if (!explorers.has(element)) explorers.set(element, explore(element));
};
const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) if (isIntersecting) { near.unobserve(target); begin(target); }
}, { rootMargin: "800px" });
const waiting = [...boxes, ...document.querySelectorAll(".explorer")];
for (const element of waiting) near.observe(element);
const drawAll = () => waiting.forEach(begin);
addEventListener("beforeprint", drawAll);
night.addEventListener("change", () => {
  for (const box of boxes) if (box.dataset.drawn) drawBox(box);
  for (const redraw of explorers.values()) redraw();
});

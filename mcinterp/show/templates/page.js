const DATA = JSON.parse(document.getElementById("data").textContent);
const pick = (id) => document.getElementById(id);
const options = { actions: { export: true, source: false, compiled: false, editor: false }, renderer: "svg" };
let count = 0;
function show(component, into) {
  const box = document.createElement("div");
  box.id = "circuitsvis-" + count++;
  pick(into).replaceChildren(box);
  CircuitsVis.render(box.id, CircuitsVis[component.component], component.props);
}
function drawGrid() {
  const rows = DATA.cells[pick("prompt").value + "|" + pick("lens").value];
  vegaEmbed("#grid", { ...DATA.grid, datasets: { cells: rows } }, options);
}
function drawAttention() {
  const layers = DATA.attention[pick("prompt").value] || {};
  const pair = layers[pick("layer").value];
  pick("attention-part").hidden = !pair;
  if (pair) { show(pair[0], "attention-base"); show(pair[1], "attention-tuned"); }
}
function drawPrompt() {
  const layers = Object.keys(DATA.attention[pick("prompt").value] || {});
  pick("layer").replaceChildren(...layers.map((layer) => new Option(layer, layer)));
  show(DATA.tokens[pick("prompt").value], "tokens");
  drawGrid();
  drawAttention();
}
for (const box of document.querySelectorAll(".chart")) vegaEmbed(box, DATA.charts[box.dataset.chart], options);
if (pick("prompt")) {
  pick("prompt").addEventListener("change", drawPrompt);
  pick("lens").addEventListener("change", drawGrid);
  pick("layer").addEventListener("change", drawAttention);
  drawPrompt();
}

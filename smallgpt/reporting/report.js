"use strict";
const drawings = JSON.parse(document.getElementById("drawings").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const LOSS = "val/loss", LATE = 0.5;

function embed(element, spec, name) {
  const style = getComputedStyle(document.documentElement);
  const [ink, faint, line] = ["--ink", "--faint", "--line"].map(key => style.getPropertyValue(key).trim());
  const config = {
    background: "transparent", view: {stroke: line}, text: {fill: ink}, rule: {stroke: faint},
    axis: {labelColor: faint, titleColor: ink, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: 500},
    legend: {labelColor: ink, titleColor: ink},
  };
  return vegaEmbed(element, spec, {
    renderer: "svg", config, tooltip: {theme: dark.matches ? "dark" : "light"}, downloadFileName: name,
    actions: {export: true, source: false, compiled: false, editor: false},
  }).catch(error => {
    console.error(name, error);
    element.innerHTML = `<p class="bad">This figure cannot be drawn.</p>`;
  });
}

function rowsOf(arm, columns, x, y, more = {}) {
  if (!columns[x] || !columns[y]) return [];
  return columns[y].map((loss, i) => ({
    arm, x: columns[x][i], loss, low: columns.low?.[i], high: columns.high?.[i], seeds: columns.seeds?.[i], ...more,
  })).filter(row => row.x !== null && row.x !== undefined && row.loss !== null && row.loss !== undefined);
}

function curveSpec(curves, panel, state) {
  const logY = state.logY || panel.log;
  const table = panel.key === LOSS ? "loss" : "training", axis = curves.axes[state.axis];
  const arms = curves.arms.filter(arm => state.arms.has(arm.label));
  let mean = arms.flatMap(arm => rowsOf(arm.label, arm[table], state.axis, panel.key));
  let runs = panel.key !== LOSS ? [] : arms
    .filter(arm => state.single || state.opened.has(arm.label) || !arm.loss[LOSS])
    .flatMap(arm => arm.runs.flatMap(run =>
      rowsOf(arm.label, run.loss, state.axis, LOSS, {job: run.job, seed: run.seed})));
  const end = [...mean, ...runs].reduce((most, row) => Math.max(most, row.x), 0);
  const kept = row => (!panel.late || row.x >= LATE * end) && (!state.logX || row.x > 0) && (!logY || row.loss > 0);
  [mean, runs] = [mean.filter(kept), runs.filter(kept)];
  const spec = structuredClone(curves.spec);
  spec.datasets = {mean, runs};
  for (const {mark} of spec.layer) {  // a training has too many points to mark each; their tooltips stay
    if (mark.type === "circle" && panel.key !== LOSS) mark.opacity = 0;
  }
  const banded = mean.some(row => typeof row.low === "number");
  spec.layer = spec.layer.filter(({data, mark}) => spec.datasets[data.name].length && (mark.type !== "area" || banded));
  const scaled = names => ({domain: curves.arms.map(arm => arm.label), range: curves.arms.map(arm => arm[names])});
  for (const {encoding} of spec.layer) {
    const kind = log => log ? {type: "log", nice: false} : {type: "linear", zero: false, nice: false};
    Object.assign(encoding.x, {title: axis.title, axis: axis.ticks, scale: kind(state.logX)});
    Object.assign(encoding.y, {title: panel.unit, scale: {...kind(logY), padding: 8}});
    encoding.color.scale = scaled("colour");
    if (encoding.strokeDash) encoding.strokeDash.scale = scaled("dash");
  }
  const select = {type: "interval", zoom: "wheel![event.shiftKey]"};
  if (spec.layer.length) spec.layer[0].params = [{name: "zoom", select, bind: "scales"}];
  return spec;
}

function drawCurves(curves, part) {
  const form = part.querySelector("form");
  const state = {opened: new Set()};
  const redraw = () => {
    state.axis = form.elements.axis?.value ?? Object.keys(curves.axes)[0];
    [state.logX, state.logY, state.single] = ["logX", "logY", "single"].map(name => form.elements[name].checked);
    state.arms = new Set([...form.querySelectorAll("[name=arm]:checked")].map(box => curves.arms[box.value].label));
    part.querySelectorAll("[data-panel]").forEach((element, i) => {
      const panel = curves.panels[element.dataset.panel];
      const spec = curveSpec(curves, panel, state);
      if (!spec.layer.length) {
        element.textContent = "Nothing to draw: no arm is chosen that has such numbers.";
        return;
      }
      embed(element, spec, panel.title).then(result => result?.view.addEventListener(
        "click", (event, item) => {
          const arm = item?.datum?.arm;
          if (!arm || panel.key !== LOSS) return;
          state.opened[state.opened.has(arm) ? "delete" : "add"](arm);
          redraw();
        }));
    });
  };
  form.addEventListener("change", redraw);
  return redraw;
}

const redraws = drawings.curves.flatMap((curves, i) => curves ? [drawCurves(curves, document.getElementById(`curves_${i}`))] : []);
function draw() {
  for (const [name, spec] of Object.entries(drawings.figures)) embed(document.getElementById(name), spec, name);
  for (const redraw of redraws) redraw();
}
for (const button of document.querySelectorAll("button[aria-controls]")) {
  button.addEventListener("click", () => {
    const folded = document.getElementById(button.getAttribute("aria-controls"));
    folded.hidden = !folded.hidden;
    button.setAttribute("aria-expanded", String(!folded.hidden));
  });
}
dark.addEventListener("change", draw);
draw();

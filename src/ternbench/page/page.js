"use strict";
// Draws the plots of the page's data, and filters its cases. The tables are there without it.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);

  const engineering = (value, unit) => {
    const steps = unit === "B" ? [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [1024, "KiB"], [1, "B"]]
                               : [[1e9, "s"], [1e6, "ms"], [1e3, "us"], [1, "ns"]];
    const [factor, name] = steps.find(([f]) => value >= f) || steps[steps.length - 1];
    const shown = value / factor;
    return `${shown >= 99.5 ? Math.round(shown) : Number(shown.toPrecision(2))} ${name}`;
  };
  const times = (log2) => {
    const value = 2 ** log2;
    return `${value >= 1 ? Math.round(value) : Number(value.toPrecision(2))}×`;
  };
  const title = (element, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", "title");
    node.textContent = text;
    element.getNode().append(node);
  };

  // Bars to the right of 1 are in our favour; the line across a bar's end is the 95% interval.
  const drawSpeedup = (place, bars) => {
    const logs = bars.map((b) => Math.log2(b.value));
    const ends = bars.flatMap((b) => [Math.log2(b.low ?? b.value), Math.log2(b.high ?? b.value)]);
    const low = Math.min(0, Math.floor(Math.min(...ends))), high = Math.max(1, Math.ceil(Math.max(...ends)));
    const chart = new Chartist.BarChart(place, {labels: bars.map((b) => b.name), series: [logs]}, {
      horizontalBars: true, reverseData: true, height: 36 + 26 * bars.length, low, high,
      chartPadding: {top: 4, right: 44, bottom: 0, left: 0},
      axisY: {offset: Math.min(190, Math.max(90, place.clientWidth * 0.38)), showGrid: false},
      axisX: {onlyInteger: true, scaleMinSpace: 44, labelInterpolationFnc: times},
    });
    chart.on("draw", (drawn) => {
      if (drawn.type !== "bar") return;
      const bar = bars[bars.length - 1 - drawn.index];  // reverseData
      drawn.element.getNode().style.color = bar.value >= 1 ? "var(--s2)" : "var(--s4)";
      title(drawn.element, `${bar.name}: ${bar.text}`);
      if (bar.low == null) return;
      const at = (value) => drawn.chartRect.x1 + drawn.axisX.projectValue(Math.log2(value));
      drawn.group.elem("line", {x1: at(bar.low), x2: at(bar.high), y1: drawn.y1, y2: drawn.y1}, "whisker");
    });
  };

  const drawBars = (place, bars, unit) => {
    const chart = new Chartist.BarChart(place, {labels: bars.map((b) => b.name), series: [bars.map((b) => b.value)]}, {
      horizontalBars: true, reverseData: true, height: 36 + 26 * bars.length, low: 0,
      chartPadding: {top: 4, right: 44, bottom: 0, left: 0},
      axisY: {offset: Math.min(190, Math.max(90, place.clientWidth * 0.38)), showGrid: false},
      axisX: {scaleMinSpace: 70, labelInterpolationFnc: (v) => engineering(v, unit)},
    });
    chart.on("draw", (drawn) => {
      if (drawn.type !== "bar") return;
      const index = bars.length - 1 - drawn.index;  // reverseData
      drawn.element.getNode().style.color = `var(--s${index % 8})`;
      title(drawn.element, `${bars[index].name}: ${engineering(bars[index].value, unit)}`);
    });
  };

  // Lines over labelled places, the values on a scale of powers of two.
  const drawLines = (place, labels, series, unit) => {
    const logs = series.map((s) => s.values.map((v) => (v == null ? null : Math.log2(v))));
    const all = logs.flat().filter((v) => v != null);
    const chart = new Chartist.LineChart(place, {labels, series: logs}, {
      height: 200, low: Math.floor(Math.min(...all)), high: Math.max(Math.ceil(Math.max(...all)), Math.floor(Math.min(...all)) + 1),
      fullWidth: true, lineSmooth: false, chartPadding: {top: 12, right: 72, bottom: 0, left: 0},
      axisX: {offset: 34}, axisY: {offset: 58, onlyInteger: true, scaleMinSpace: 26, labelInterpolationFnc: (v) => engineering(2 ** v, unit)},
    });
    chart.on("draw", (drawn) => {
      if (drawn.type !== "line" && drawn.type !== "point") return;
      const at = drawn.type === "line" ? drawn.index : drawn.seriesIndex;
      drawn.element.getNode().style.color = `var(--s${at % 8})`;
      if (drawn.type === "point")
        title(drawn.element, `${series[at].name}, ${labels[drawn.index]}: ${engineering(series[at].values[drawn.index], unit)}`);
    });
  };

  const draw = (plot) => {
    const place = document.getElementById(plot.id);
    if (plot.kind === "speedup") drawSpeedup(place, plot.bars);
    else if (plot.kind === "bars") drawBars(place, plot.bars, plot.unit);
    else drawLines(place, plot.labels, plot.series, plot.unit);
  };

  const text = document.getElementById("filter"), area = document.getElementById("area"), count = document.getElementById("count");
  const cases = [...document.querySelectorAll("section.case")];
  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const section of cases) {
      const wanted = (!area.value || section.dataset.area === area.value) &&
                     words.every((word) => section.dataset.rows.includes(word));
      section.hidden = !wanted;
      shown += wanted ? 1 : 0;
    }
    count.textContent = `${shown} of ${cases.length} cases`;
    drawShown();
  };

  // A plot is as wide as its place, which has no width while it is hidden: so each is drawn when its case is first shown.
  const waiting = new Set(data.plots);
  const drawShown = () => {
    for (const plot of waiting) {
      if (document.getElementById(plot.id).closest("section").hidden) continue;
      draw(plot);
      waiting.delete(plot);
    }
  };
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  text.addEventListener("input", filter);
  area.addEventListener("change", filter);
  document.querySelector("form").hidden = false;
  filter();
})();

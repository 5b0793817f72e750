// Charts as inline SVG. What is drawn comes from the page's data; nothing is markup.
const PALETTE = ["#0b61a4", "#c8553d", "#2a9d6f", "#8e5ea2", "#b8860b", "#2b8a9e", "#c2508b", "#5b6675", "#7a9a01", "#8c5a3c"];
let chosenHistogram = null;
function shape(name, attributes, parent, content) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (content !== undefined) made.textContent = content;
  if (parent) parent.append(made);
  return made;
}
function chart(parent, width, height, label) {
  const made = shape("svg", {viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img"}, parent);
  made.setAttribute("aria-label", label);
  return made;
}
function niceTicks(low, high, count) {
  const raw = (high - low) / count || 1, unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(factor => factor * unit).find(size => size >= raw);
  const ticks = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) ticks.push(Math.abs(value) < step * 1e-9 ? 0 : value);
  return ticks;
}
function short(value) {
  return Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(0).replace("e+", "e") : String(Number(value.toPrecision(4)));
}
// The y axis of a chart whose plot lies between `left`, `top`, `right` and `bottom`; returns the place of a value.
function yAxis(svg, box, low, high) {
  const place = value => box.bottom - (value - low) / (high - low || 1) * (box.bottom - box.top);
  for (const tick of niceTicks(low, high, 4)) {
    shape("line", {x1: box.left, x2: box.right, y1: place(tick), y2: place(tick), class: "grid"}, svg);
    shape("text", {x: box.left - 6, y: place(tick) + 4, "text-anchor": "end"}, svg, short(tick));
  }
  shape("line", {x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "axis"}, svg);
  return place;
}
function heading(body, label) { return element("h3", label, body); }

// The nuclei of a well (bars) beside those of the plate (grey), as shares of their number.
function histogramOf(body, name) {
  if (!data.histograms.length) return;
  const head = heading(body, "Nuclei");
  const select = element("select", undefined, head);
  select.ariaLabel = "measure of nuclei";
  options(select, data.histograms);
  chosenHistogram = data.histograms.some(item => item.key === chosenHistogram) ? chosenHistogram : data.histograms[0].key;
  select.value = chosenHistogram;
  const place = element("div", undefined, body);
  place.className = "histogram";
  select.addEventListener("change", () => { chosenHistogram = select.value; place.replaceChildren(); drawHistogram(place, name); });
  drawHistogram(place, name);
}
function countsOf(item, name) {
  const counts = item.wells[name] ?? [];
  return Array.isArray(counts[0]) ? counts[Number(time.value)] ?? [] : counts;
}
function drawHistogram(parent, name) {
  const item = data.histograms.find(candidate => candidate.key === chosenHistogram);
  const total = new Array(item.bins).fill(0), own = countsOf(item, name);
  for (const other of Object.keys(item.wells)) countsOf(item, other).forEach((count, bin) => total[bin] += count);
  const shares = counts => { const sum = counts.reduce((a, b) => a + b, 0); return counts.map(count => sum ? count / sum : 0); };
  const ofPlate = shares(total), ofWell = shares(own), count = own.reduce((a, b) => a + b, 0);
  const svg = chart(parent, 420, 140, `${item.label}: ${count} nuclei of well ${name} beside those of the plate`);
  const box = {left: 8, right: 412, top: 26, bottom: 118}, width = (box.right - box.left) / item.bins;
  const most = Math.max(...ofPlate, ...ofWell) || 1, y = share => box.bottom - share / most * (box.bottom - box.top);
  ofWell.forEach((share, bin) => { if (share) shape("rect", {x: box.left + bin * width + 0.5, width: width - 1, y: y(share), height: box.bottom - y(share), fill: "#0b61a4", "fill-opacity": 0.75}, svg); });
  const steps = ofPlate.map((share, bin) => `${box.left + bin * width},${y(share)} ${box.left + (bin + 1) * width},${y(share)}`).join(" ");
  shape("polyline", {points: steps, fill: "none", stroke: "#39424f", "stroke-width": 1.3}, svg);
  shape("line", {x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "axis"}, svg);
  for (const tick of niceTicks(item.low, item.high, 5)) {
    const x = box.left + (tick - item.low) / (item.high - item.low) * (box.right - box.left);
    shape("text", {x, y: 132, "text-anchor": x > 395 ? "end" : x < 20 ? "start" : "middle"}, svg, short(tick));
  }
  shape("rect", {x: 8, y: 3, width: 9, height: 9, fill: "#0b61a4", "fill-opacity": 0.75}, svg);
  shape("text", {x: 21, y: 11}, svg, `${name}, ${count.toLocaleString("en")} nuclei`);
  shape("line", {x1: 160, x2: 172, y1: 8, y2: 8, stroke: "#39424f", "stroke-width": 1.3}, svg);
  shape("text", {x: 176, y: 11}, svg, "plate; outermost bins hold what lies beyond");
}

// What the heatmap shows, over time.
function timeLine(body, name) {
  if (data.times.length < 2) return;
  const rows = (wells.get(name) ?? []).filter(row => row.count !== null).sort((a, b) => a.time - b.time);
  heading(body, "Nuclei over time");
  const svg = chart(body, 420, 120, `number of nuclei over time: ${rows.map(row => `${row.time}: ${row.count}`).join(", ")}`);
  const box = {left: 44, right: 408, top: 10, bottom: 96}, last = Math.max(...data.times), first = Math.min(...data.times);
  const y = yAxis(svg, box, 0, Math.max(1, ...rows.map(row => row.count)));
  const x = value => box.left + 8 + (value - first) / (last - first) * (box.right - box.left - 16);
  shape("polyline", {points: rows.map(row => `${x(row.time)},${y(row.count)}`).join(" "), fill: "none", stroke: "#0b61a4", "stroke-width": 1.6, class: "over-time"}, svg);
  for (const row of rows) {
    const point = shape("circle", {cx: x(row.time), cy: y(row.count), r: row.time === Number(time.value) ? 5 : 3, fill: "#0b61a4", class: "point"}, svg);
    shape("title", {}, point, `time ${row.time}: ${row.count}`);
    point.addEventListener("click", () => { time.value = row.time; repaint(); });
  }
  for (const tick of niceTicks(first, last, Math.min(8, last - first)).filter(Number.isInteger)) shape("text", {x: x(tick), y: 112, "text-anchor": "middle"}, svg, tick);
}

// Response over concentration: a point per well, the mean of every treatment as a line; wells without a concentration as a
// dashed line.
const doses = {metric: byId("dose-metric"), treatment: byId("dose-treatment")};
const known = value => value !== null && value !== undefined;
function startDoses() {
  const mapped = data.wells.filter(well => known(well.treatment) && known(well.concentration));
  byId("doses").hidden = !mapped.length;
  if (!mapped.length) return;
  options(doses.metric, data.metrics);
  options(doses.treatment, [{key: "", label: "all"}, ...[...new Set(mapped.map(well => well.treatment))].sort().map(name => ({key: "=" + name, label: name}))]);
  for (const select of Object.values(doses)) select.addEventListener("change", drawDoses);
}
function drawDoses() {
  if (byId("doses").hidden) return;
  const item = data.metrics.find(one => one.key === doses.metric.value), legend = byId("dose-legend");
  const usable = data.wells.filter(well => now(well) && known(well.treatment) && known(well[item.key]));
  const treated = usable.filter(well => known(well.concentration) && well.concentration >= 0 && (!doses.treatment.value || "=" + well.treatment === doses.treatment.value));
  const others = grouped(usable.filter(well => !known(well.concentration)), well => well.treatment);
  const names = [...new Set(treated.map(well => well.treatment))].sort();
  const place = byId("dose-chart");
  place.replaceChildren();
  legend.replaceChildren();
  const svg = chart(place, 900, 300, `${item.label} over concentration, ${treated.length} wells`);
  const box = {left: 64, right: 884, top: 12, bottom: 262};
  const values = [...treated, ...[...others.values()].flat()].map(well => well[item.key]);
  if (!treated.length) { shape("text", {x: 450, y: 150, "text-anchor": "middle"}, svg, "no well has a value"); return; }
  const most = Math.max(...values), least = Math.min(...values), from = least >= 0 && least < 0.6 * most ? 0 : least - (most - least || 1) * 0.1;
  const y = yAxis(svg, box, from, most + (most - from) * 0.05 || 1);
  const positive = treated.map(well => well.concentration).filter(value => value > 0), zeros = treated.some(well => well.concentration === 0);
  const low = positive.length ? Math.floor(Math.log10(Math.min(...positive)) * 2 - 0.2) / 2 : 0, high = positive.length ? Math.ceil(Math.log10(Math.max(...positive)) * 2 + 0.2) / 2 : 1;
  const left = box.left + (zeros ? 70 : 10);
  const x = value => value === 0 ? box.left + 24 : left + (Math.log10(value) - low) / (high - low) * (box.right - 10 - left);
  const label = (where, content) => shape("text", {x: where, y: box.bottom + 16, "text-anchor": "middle"}, svg, content);
  if (zeros) { label(box.left + 24, "0"); shape("line", {x1: box.left + 48, x2: box.left + 54, y1: box.bottom + 5, y2: box.bottom - 5, class: "axis"}, svg); }
  for (let power = Math.ceil(low); power <= high; power++) { label(x(10 ** power), short(10 ** power)); shape("line", {x1: x(10 ** power), x2: x(10 ** power), y1: box.top, y2: box.bottom, class: "grid"}, svg); }
  shape("text", {x: (box.left + box.right) / 2, y: 294, "text-anchor": "middle"}, svg, "concentration, as in the plate map (logarithmic)");
  const mean = rows => rows.reduce((sum, well) => sum + well[item.key], 0) / rows.length;
  [...others].slice(0, 4).forEach(([name, rows]) => {
    const height = y(mean(rows));
    shape("line", {x1: box.left, x2: box.right, y1: height, y2: height, stroke: "#5b6675", "stroke-dasharray": "5 4"}, svg);
    shape("text", {x: box.right, y: height - 4, "text-anchor": "end"}, svg, `${name}, mean of ${rows.length}`);
  });
  names.forEach((name, number) => {
    const paint = PALETTE[number % PALETTE.length], rows = treated.filter(well => well.treatment === name);
    const levels = [...new Set(rows.map(well => well.concentration))].sort((a, b) => a - b);
    const line = levels.map(value => `${x(value)},${y(mean(rows.filter(well => well.concentration === value)))}`).join(" ");
    shape("polyline", {points: line, fill: "none", stroke: paint, "stroke-width": 1.8, class: "mean"}, svg);
    for (const well of rows) {
      const point = shape("circle", {cx: x(well.concentration), cy: y(well[item.key]), r: 4, fill: paint, "fill-opacity": 0.8, class: "point"}, svg);
      shape("title", {}, point, `${well.well}: ${name} ${short(well.concentration)}, ${text(well[item.key], item.digits)}`);
      point.addEventListener("click", () => { show(well.well); viewer.open(well.well); });
    }
    if (names.length > PALETTE.length) return;
    const entry = element("span", undefined, legend);
    element("i", undefined, entry).style.background = paint;
    entry.append(name);
  });
  if (names.length > PALETTE.length) element("span", `${names.length} treatments: choose one to tell them apart`, legend).className = "soft";
}

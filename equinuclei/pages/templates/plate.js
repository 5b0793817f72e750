const byId = id => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const plate = byId("plate"), metric = byId("metric"), sheet = byId("sheet"), time = byId("time");
// The rows of a well at every time; and that of the time that is shown.
const wells = grouped(data.wells, row => row.well);
const now = row => !data.times.length || row.time === undefined || row.time === null || row.time === Number(time.value);
const wellNow = name => (wells.get(name) ?? []).find(now);
const fieldsOf = (name, any) => data.fields.rows
  .filter(row => row[0] === name)
  .map(row => Object.fromEntries(row.map((value, i) => [data.fields.columns[i], value])))
  .filter(row => any || now(row));
function grouped(rows, key) {
  const groups = new Map();
  for (const row of rows) groups.set(key(row), [...(groups.get(key(row)) ?? []), row]);
  return groups;
}
const buttons = new Map();
let selected = null;
// Viridis, sampled.
const colours = [[68,1,84],[71,44,122],[59,81,139],[44,113,142],[33,144,141],[39,173,129],[92,200,99],[170,220,50],[253,231,37]];
function colour(share) {
  const place = Math.min(Math.max(share, 0), 1) * (colours.length - 1), low = Math.min(Math.floor(place), colours.length - 2);
  return colours[low].map((value, i) => Math.round(value + (colours[low + 1][i] - value) * (place - low)));
}
function options(select, items) {
  for (const item of items) {
    const option = element("option", item.label, select);
    option.value = item.key;
  }
}
function drawPlate() {
  plate.style.gridTemplateColumns = `minmax(14px, 1.6em) repeat(${data.columns}, minmax(0, 1fr))`;
  plate.ariaColCount = data.columns;
  plate.ariaRowCount = data.layout.length;
  const line = () => { const row = element("div", undefined, plate); row.setAttribute("role", "row"); return row; };
  const head = (row, label, role) => { const made = element("div", label, row); made.className = "head"; made.setAttribute("role", role); };
  const heads = line();
  head(heads, "", "columnheader");
  for (let column = 1; column <= data.columns; column++) head(heads, data.columns > 24 && column % 4 !== 1 ? "" : column, "columnheader");
  data.layout.forEach((of, row) => {
    const parent = line();
    head(parent, of.letter, "rowheader");
    of.wells.forEach((name, column) => {
      const button = element("button", "", parent);
      button.dataset.well = name;
      button.type = "button";
      button.setAttribute("role", "gridcell");
      button.disabled = !wells.has(name);
      button.tabIndex = -1;
      button.place = [row, column];
      button.addEventListener("click", () => { show(name); viewer.open(name); });
      buttons.set(name, button);
    });
  });
  plate.addEventListener("keydown", move);
  plate.addEventListener("focusin", event => { if (event.target.dataset.well) makeTabStop(event.target); });
}
// One well is in the order of the Tab key; the arrows go from well to well, over those that were not imaged.
function makeTabStop(button) {
  for (const other of buttons.values()) other.tabIndex = -1;
  button.tabIndex = 0;
}
function move(event) {
  const step = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -1e3], End: [0, 1e3]}[event.key];
  const from = event.target.place;
  if (!step || !from || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const line = [...buttons.values()].filter(button => !button.disabled && button.place.every((value, axis) =>
    step[axis] ? (value - from[axis]) * step[axis] > 0 : value === from[axis]));
  const distance = button => Math.hypot(button.place[0] - from[0], button.place[1] - from[1]);
  line.sort((a, b) => (distance(a) - distance(b)) * (event.key === "Home" || event.key === "End" ? -1 : 1));
  if (!line.length) return;
  line[0].focus();
  show(line[0].dataset.well);
}
// What the colours span. One empty well among hundreds would leave all others alike: values beyond three times the distance
// between the quartiles have the colours of the ends.
function robustRange(values) {
  const sorted = [...values].sort((a, b) => a - b), quantile = share => sorted[Math.round(share * (sorted.length - 1))];
  const spread = 3 * (quantile(0.75) - quantile(0.25));
  const within = spread > 0 ? sorted.filter(value => value >= quantile(0.25) - spread && value <= quantile(0.75) + spread) : sorted;
  return [within[0], within[within.length - 1]];
}
const warningsOf = name => data.warnings.filter(one => one.well === name && now(one));
function paint() {
  const item = data.metrics.find(candidate => candidate.key === metric.value) ?? {label: "", digits: ""};
  // All times in one scale.
  const values = data.wells.map(well => well[item.key] ?? null).filter(value => value !== null);
  const [low, high] = robustRange(values);
  byId("low").textContent = values.length ? (Math.min(...values) < low ? "≤ " : "") + text(low, item.digits) : "";
  byId("high").textContent = values.length ? (Math.max(...values) > high ? "≥ " : "") + text(high, item.digits) : "";
  byId("meaning").textContent = item.meaning ?? "";
  for (const [name, button] of buttons) {
    const well = wellNow(name), value = well ? well[item.key] ?? null : null, image = data.thumbnails[name];
    button.style.backgroundImage = sheet.checked && well && image ? `url(${image})` : "";
    button.classList.toggle("told", warningsOf(name).length > 0);
    if (!well) { button.style.backgroundColor = ""; button.textContent = ""; continue; }
    button.title = button.ariaLabel = [`${name}: ${item.label} ${text(value, item.digits)}`, well.treatment, ...warningsOf(name).map(one => one.kind)].filter(Boolean).join(", ");
    button.textContent = data.columns <= 12 && !sheet.checked ? text(value, item.digits) : "";
    if (value === null) { button.style.backgroundColor = ""; continue; }
    const rgb = colour(high > low ? (value - low) / (high - low) : 0.5);
    button.style.backgroundColor = `rgb(${rgb})`;
    button.style.color = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 140 ? "#1c2430" : "#fff";
  }
}
const titleOf = name => {
  const well = wellNow(name) ?? {};
  const dose = well.concentration === undefined || well.concentration === null ? "" : ` ${short(well.concentration)}`;
  return `Well ${name}` + (well.treatment ? ` · ${well.treatment}${dose}` : "");
};
function show(name) {
  selected = name;
  for (const [other, button] of buttons) button.setAttribute("aria-selected", other === name);
  if (buttons.has(name)) makeTabStop(buttons.get(name));
  byId("well-name").textContent = titleOf(name);
  const body = byId("well-body");
  body.replaceChildren();
  body.className = "";
  for (const warning of warningsOf(name)) element("p", `${warning.kind}: ${warning.text}`, body).className = "told";
  const look = element("button", undefined, body);
  look.type = "button";
  look.className = "look";
  look.addEventListener("click", () => viewer.open(name));
  if (data.images || data.thumbnails[name]) viewer.preview(element("img", undefined, look), name);
  element("span", "Open", look);
  timeLine(body, name);
  histogramOf(body, name);
  fieldTable(body, name);
  location.replace("#" + name);
}
function fieldTable(body, name) {
  const table = element("table", undefined, element("div", undefined, body));
  table.parentElement.className = "scroll";
  const head = element("tr", undefined, element("thead", undefined, table));
  element("th", "field", head);
  for (const item of data.field_columns) element("th", item.label, head);
  const rows = element("tbody", undefined, table);
  for (const field of fieldsOf(name)) {
    const row = element("tr", undefined, rows);
    const button = element("button", field.field, element("td", undefined, row));
    button.type = "button";
    button.ariaLabel = `open field ${field.field}`;
    row.addEventListener("click", () => viewer.open(name, field.field));
    for (const item of data.field_columns) element("td", text(field[item.key], item.digits), row);
  }
}
function listWarnings() {
  const list = byId("warnings");
  list.replaceChildren();
  const shown = data.warnings.filter(now);
  if (!shown.length) { const line = element("li", "Nothing stands out in what was measured.", list); line.className = "good"; }
  for (const warning of shown) {
    const line = element("li", undefined, list);
    if (warning.well) {
      const button = element("button", warning.well, line);
      button.type = "button";
      button.addEventListener("click", () => { show(warning.well); viewer.open(warning.well); });
      line.append(` ${warning.kind}: ${warning.text}`);
    } else line.append(`Plate, ${warning.kind}: ${warning.text}`);
  }
}
function repaint() {
  paint();
  listWarnings();
  if (selected) show(selected);
  drawDoses();
}
function start() {
  byId("scale").style.background = "linear-gradient(90deg," + colours.map(c => `rgb(${c})`).join(",") + ")";
  options(metric, data.metrics);
  options(time, data.times.map(value => ({key: value, label: value})));
  byId("times").hidden = data.times.length < 2;
  drawPlate();
  metric.addEventListener("change", paint);
  sheet.addEventListener("change", paint);
  time.addEventListener("change", repaint);
  startDoses();
  repaint();
  const first = [...buttons.values()].find(button => !button.disabled);
  if (first) makeTabStop(first);
  // #B02 chooses a well, #B02/ opens it, #B02/3 opens its third field.
  const [well, field] = location.hash.slice(1).split("/");
  if (wells.has(well)) {
    show(well);
    if (field !== undefined) viewer.open(well, field ? Number(field) : null);
  }
}

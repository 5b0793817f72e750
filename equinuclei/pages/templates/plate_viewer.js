// A well, or one of its fields, as large as the screen. Images are files beside the page, loaded when they are looked at.
const viewer = (() => {
  const images = data.images, dialog = byId("viewer"), stage = byId("stage"), scene = byId("scene");
  const pictures = {base: byId("base"), fine: byId("fine"), baseLines: byId("base-lines"), fineLines: byId("fine-lines")};
  const sliders = {black: byId("black"), white: byId("white")};
  // Where the picture stands: the scene's pixel (x, y) on the stage is x * scale + left, y * scale + top.
  const view = {well: null, field: null, channel: images ? images.nuclear : 0, scale: 1, left: 0, top: 0, width: 1, height: 1};
  let mode = "plate";
  const displayed = images ? images.channels.map(channel => ({low: channel.low, high: channel.high})) : [];
  // The values that the sliders span, per channel: all that any well is encoded in.
  const spans = displayed.map((_, number) => {
    const of = Object.values(images.wells).flat().map(image => image.channels[number]);
    return {low: Math.min(...of.map(one => one.low)), high: Math.max(...of.map(one => one.high))};
  });
  const moment = () => data.times.length ? Number(time.value) : 0;
  const imageOf = name => images?.wells[name]?.[moment()];
  const wellImages = () => imageOf(view.well);
  const place = number => { const found = wellImages()?.fields.find(row => row[0] === number); return found && {field: found[0], y: found[1], x: found[2], height: found[3], width: found[4], contrast: found[5]}; };
  const file = (name, well = view.well) => `${data.folder}/${well}/t${moment()}_${name}`;
  const half = (size, factor) => Math.floor(size / factor);

  function open(well, field = null) {
    if (!wellNow(well)) return;
    view.well = well;
    view.field = field !== null && place(field) ? field : null;
    if (!dialog.open) dialog.showModal();
    layOut();
    draw();
    fit();
    stage.focus({preventScroll: true});
    location.replace(`#${well}/${view.field ?? ""}`);
  }
  function close() {
    dialog.close();
    show(view.well);
    buttons.get(view.well)?.focus();
  }
  // Titles, frames of fields, and buttons: what changes with the well or field alone.
  function layOut() {
    const well = wellNow(view.well), rows = fieldsOf(view.well), row = rows.find(one => one.field === view.field);
    byId("to-well").textContent = titleOf(view.well);
    byId("to-well").disabled = view.field === null;
    byId("viewer-title").textContent = view.field === null ? "" : ` › Field ${view.field}`;
    const facts = row ?? well;
    byId("viewer-facts").textContent = data.field_columns.filter(item => known(facts[item.key]) && item.key !== "status").map(item => `${item.label} ${text(facts[item.key], item.digits)}`).join(" · ");
    const list = byId("field-list"), frames = byId("frames");
    list.replaceChildren();
    frames.replaceChildren();
    for (const field of rows) {
      const failed = field.status !== "ok", label = failed ? field.status : `${text(field.count)} ${field.count === 1 ? "nucleus" : "nuclei"}`;
      const entry = element("button", `${field.field}`, list);
      entry.type = "button";
      entry.className = failed ? "failed" : "";
      element("span", label, entry);
      if (field.field === view.field) entry.setAttribute("aria-current", "true");
      entry.addEventListener("click", () => open(view.well, field.field));
      const at = place(field.field);
      if (!at || view.field !== null) continue;
      const frame = element("button", undefined, frames);
      frame.type = "button";
      frame.dataset.field = field.field;
      frame.ariaLabel = `field ${field.field}, ${label}`;
      element("span", failed ? `${field.field}: ${label}` : field.field, frame);
      Object.assign(frame.style, {left: `${at.x}px`, top: `${at.y}px`, width: `${at.width}px`, height: `${at.height}px`});
      frame.addEventListener("click", () => open(view.well, field.field));
    }
    const at = place(view.field), all = wellImages()?.fields ?? [];
    view.width = at ? at.width : Math.max(1, ...all.map(field => field[2] + field[4]));
    view.height = at ? at.height : Math.max(1, ...all.map(field => field[1] + field[3]));
    Object.assign(scene.style, {width: `${view.width}px`, height: `${view.height}px`});
    const order = steps();
    byId("previous").disabled = order.at < 1;
    byId("next").disabled = order.at >= order.all.length - 1;
  }
  // What "previous" and "next" go through: the fields of the well, or the wells of the plate.
  function steps() {
    const ofWells = view.field === null;
    const all = ofWells ? [...buttons.keys()].filter(name => wellNow(name)) : fieldsOf(view.well).map(row => row.field);
    return {all, at: all.indexOf(ofWells ? view.well : view.field), ofWells};
  }
  function step(by) {
    const {all, at, ofWells} = steps(), next = all[at + by];
    if (next !== undefined) ofWells ? open(next) : open(view.well, next);
  }
  function put(picture, source, x, y, width, height, alt) {
    picture.hidden = !source;
    if (!source) { picture.removeAttribute("src"); return; }
    Object.assign(picture.style, {left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px`});
    picture.alt = alt;
    if (picture.getAttribute("src") === source) return;
    picture.classList.remove("loaded");
    picture.setAttribute("src", source);
  }
  // The files that show the well or field in the channel: the image of the whole well, and that of the field above it.
  function draw() {
    const at = place(view.field), well = wellImages();
    scene.classList.toggle("plain", !well);
    if (!well) return drawThumbnail();
    const {x, y} = at ?? {x: 0, y: 0}, factor = images.reduction;
    const whole = [-x, -y, half(images.width, factor) * factor, half(images.height, factor) * factor];
    const channel = images.channels[view.channel], shown = byId("lines").checked;
    const name = at ? `field ${at.field} of well ${view.well}, ${channel.name}` : `well ${view.well}, ${channel.name}`;
    put(pictures.base, file(`c${view.channel}.jpg`), ...whole, name);
    put(pictures.baseLines, shown && !(at && images.outlines) ? file("outlines.png") : "", ...whole, "outlines of nuclei");
    const part = by => {
      const left = Math.floor(x / by), top = Math.floor(y / by);
      const right = Math.min(Math.ceil((x + at.width) / by), half(images.width, by)), bottom = Math.min(Math.ceil((y + at.height) / by), half(images.height, by));
      return [left * by - x, top * by - y, (right - left) * by, (bottom - top) * by];
    };
    const fine = at && channel.field && at.contrast[view.channel];
    put(pictures.fine, fine ? file(`f${at.field}_c${view.channel}.jpg`) : "", ...(fine ? part(channel.field) : []), name);
    put(pictures.fineLines, at && shown && images.outlines ? file(`f${at.field}_outlines.png`) : "", ...(at && images.outlines ? part(images.outlines) : []), "outlines of nuclei");
    for (const frame of byId("frames").children) frame.classList.toggle("failed", !place(Number(frame.dataset.field)).contrast[view.channel]);
    if (mode === "automatic") setAutomatic();
    drawChannels();
    drawContrast();
    tell();
  }
  function drawThumbnail() {
    const source = data.thumbnails[view.well];
    for (const picture of [pictures.fine, pictures.baseLines, pictures.fineLines]) put(picture, "");
    pictures.base.onload = () => {
      [view.width, view.height] = [pictures.base.naturalWidth, pictures.base.naturalHeight];
      Object.assign(scene.style, {width: `${view.width}px`, height: `${view.height}px`});
      Object.assign(pictures.base.style, {width: `${view.width}px`, height: `${view.height}px`});
      fit();
    };
    put(pictures.base, source ?? "", 0, 0, view.width, view.height, `well ${view.well}`);
    for (const id of ["channels", "contrast", "scale-bar"]) byId(id).hidden = true;
    byId("note").textContent = "This page was made without images at full size.";
  }
  // How fine the image is, or why there is none.
  function tell() {
    const at = place(view.field), channel = images.channels[view.channel];
    const failed = at && !at.contrast[view.channel];
    const factor = at && channel.field ? channel.field : images.reduction;
    const row = at && fieldsOf(view.well).find(one => one.field === at.field);
    if (failed) byId("note").textContent = `Field ${at.field} has no image in ${channel.name}` + (row && row.status !== "ok" ? `: ${row.status}` : "");
    else byId("note").textContent = factor === 1 ? `${channel.name}, full resolution` : `${channel.name}, shown at 1/${factor} of the resolution`;
  }
  function missing(event) {
    const source = event.target.getAttribute("src");
    if (source && !event.target.hidden) byId("note").textContent = `No image: ${source} cannot be read. The folder ${data.folder} has to lie beside this page.`;
  }

  function contrastNow() {
    const at = place(view.field);
    return (at ? at.contrast[view.channel] : null) ?? wellImages()?.channels[view.channel].contrast;
  }
  function setAutomatic() {
    const found = contrastNow();
    if (found) displayed[view.channel] = {low: found[0], high: Math.max(found[1], found[0] + 1e-9)};
  }
  function display(range) {
    mode = "manual";
    displayed[view.channel] = range;
    drawContrast();
  }
  function setMode(name) {
    mode = name;
    if (mode === "plate") images.channels.forEach((channel, number) => { displayed[number] = {low: channel.low, high: channel.high}; });
    draw();
  }
  // Files hold the square root of a value's place in the range of its well; `display` turns that back.
  function drawContrast() {
    const {low, high} = displayed[view.channel];
    setFilter("display", wellImages().channels[view.channel], displayed[view.channel]);
    const span = spans[view.channel], position = value => Math.round(1000 * Math.sqrt(Math.min(Math.max((value - span.low) / (span.high - span.low), 0), 1)));
    [sliders.black.value, sliders.white.value] = [position(low), position(high)];
    byId("black-value").textContent = text(low);
    byId("white-value").textContent = text(high);
    sliders.black.ariaValueText = text(low);
    sliders.white.ariaValueText = text(high);
    byId("of-plate").setAttribute("aria-pressed", mode === "plate");
    byId("automatic").setAttribute("aria-pressed", mode === "automatic");
  }
  function setFilter(id, encoded, {low, high}) {
    const range = Math.max(high - low, 1e-9);
    for (const part of byId(id).firstElementChild.children) {
      part.setAttribute("amplitude", (encoded.high - encoded.low) / range);
      part.setAttribute("offset", (encoded.low - low) / range);
    }
  }
  // A well in the panel beside the plate: its file, in the contrast of all wells; the small image within the page if there
  // is no such file.
  function preview(picture, name) {
    const well = imageOf(name);
    picture.src = well ? file(`c${images.nuclear}.jpg`, name) : data.thumbnails[name] ?? "";
    picture.alt = `Well ${name}`;
    if (!well) return;
    picture.className = "file";
    setFilter("panel", well.channels[images.nuclear], images.channels[images.nuclear]);
    picture.addEventListener("error", () => { picture.className = ""; if (data.thumbnails[name]) picture.src = data.thumbnails[name]; }, {once: true});
  }
  function slide(event) {
    const span = spans[view.channel], value = span.low + (span.high - span.low) * (event.target.value / 1000) ** 2, range = displayed[view.channel];
    const least = (span.high - span.low) * 1e-4;
    display(event.target === sliders.black ? {low: Math.min(value, range.high - least), high: range.high} : {low: range.low, high: Math.max(value, range.low + least)});
  }
  function drawChannels() {
    [...byId("channels").querySelectorAll("button")].forEach((button, number) => {
      button.setAttribute("aria-checked", number === view.channel);
      button.tabIndex = number === view.channel ? 0 : -1;
    });
  }
  function setChannel(number) {
    if (!images || !images.channels[number]) return;
    view.channel = number;
    draw();
  }

  function apply() {
    const frame = stage.getBoundingClientRect(), keep = 60;
    view.left = Math.min(Math.max(view.left, keep - view.width * view.scale), frame.width - keep);
    view.top = Math.min(Math.max(view.top, keep - view.height * view.scale), frame.height - keep);
    scene.style.transform = `translate(${view.left}px, ${view.top}px) scale(${view.scale})`;
    scene.style.setProperty("--thin", `${1 / view.scale}px`);
    scene.classList.toggle("sharp", view.scale >= 3);
    byId("zoom").textContent = `${text(100 * view.scale)} %`;
    drawScaleBar();
  }
  function drawScaleBar() {
    const size = images?.pixel_size, bar = byId("scale-bar");
    bar.hidden = !size || !wellImages();
    if (bar.hidden) return;
    // The largest of 1, 2, 5, 10, ... micrometres that takes no more than 140 pixels of the screen.
    const perScreen = size / view.scale, unit = 10 ** Math.floor(Math.log10(140 * perScreen));
    const length = [5, 2, 1].map(factor => factor * unit).find(value => value <= 140 * perScreen * (1 + 1e-9));
    bar.lastElementChild.style.width = `${length / perScreen}px`;
    bar.firstElementChild.textContent = length >= 1000 ? `${short(length / 1000)} mm` : `${short(length)} µm`;
  }
  function fit() {
    const frame = stage.getBoundingClientRect();
    view.scale = Math.min((frame.width - 16) / view.width, (frame.height - 16) / view.height) || 1;
    [view.left, view.top] = [(frame.width - view.width * view.scale) / 2, (frame.height - view.height * view.scale) / 2];
    apply();
  }
  function zoom(by, x, y) {
    const frame = stage.getBoundingClientRect(), least = Math.min(frame.width / view.width, frame.height / view.height) / 4;
    const scale = Math.min(Math.max(view.scale * by, least), 32), ratio = scale / view.scale;
    x ??= frame.width / 2; y ??= frame.height / 2;
    [view.left, view.top, view.scale] = [x - (x - view.left) * ratio, y - (y - view.top) * ratio, scale];
    apply();
  }
  function pan(x, y) { view.left += x; view.top += y; apply(); }

  // A press that moves drags the image; one that does not is a click on what lies below. Two fingers zoom.
  const pressed = new Map();
  function press(event) {
    if (event.button === 0) pressed.set(event.pointerId, {x: event.clientX, y: event.clientY});
  }
  function drag(event) {
    const last = pressed.get(event.pointerId);
    if (!last) return;
    if (event.buttons === 0) return release(event);
    const [x, y] = [event.clientX - last.x, event.clientY - last.y];
    if (!stage.classList.contains("dragged") && Math.hypot(x, y) < 5) return;
    if (!stage.classList.contains("dragged")) { stage.classList.add("dragged"); stage.setPointerCapture(event.pointerId); }
    const other = [...pressed].find(([id]) => id !== event.pointerId)?.[1], frame = stage.getBoundingClientRect();
    if (other) {
      const distance = at => Math.hypot(at.x - other.x, at.y - other.y) || 1;
      zoom(distance({x: event.clientX, y: event.clientY}) / distance(last), (event.clientX + other.x) / 2 - frame.left, (event.clientY + other.y) / 2 - frame.top);
    } else pan(x, y);
    pressed.set(event.pointerId, {x: event.clientX, y: event.clientY});
  }
  function release(event) {
    pressed.delete(event.pointerId);
    if (!pressed.size) setTimeout(() => stage.classList.remove("dragged"));
  }
  function key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") { event.preventDefault(); view.field === null ? close() : open(view.well); return; }
    const moves = {ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60]}[event.key];
    if (event.target.type === "range" && (moves || event.key.startsWith("Page"))) return;
    if (event.target.getAttribute("role") === "radio" && moves) {
      setChannel((view.channel + (moves[0] + moves[1] < 0 ? 1 : images.channels.length - 1)) % images.channels.length);
      byId("channels").querySelectorAll("button")[view.channel].focus();
    } else if (moves) pan(...moves);
    else if (event.key === "+" || event.key === "=") zoom(1.25);
    else if (event.key === "-") zoom(0.8);
    else if (event.key === "0") fit();
    else if (/^[1-9]$/.test(event.key)) setChannel(Number(event.key) - 1);
    else if (event.key.toLowerCase() === "o") byId("lines").click();
    else if (event.key.toLowerCase() === "a" && images) setMode("automatic");
    else if (event.key === "PageDown") step(1);
    else if (event.key === "PageUp") step(-1);
    else return;
    event.preventDefault();
  }

  (images?.channels ?? []).forEach((channel, number) => {
    const button = element("button", channel.name, byId("channels").lastElementChild);
    button.type = "button";
    button.setAttribute("role", "radio");
    button.addEventListener("click", () => setChannel(number));
  });
  for (const picture of Object.values(pictures)) {
    picture.addEventListener("load", () => picture.classList.add("loaded"));
    picture.addEventListener("error", missing);
  }
  for (const slider of Object.values(sliders)) slider.addEventListener("input", slide);
  const on = (id, act) => byId(id).addEventListener("click", act);
  on("of-plate", () => setMode("plate"));
  on("automatic", () => setMode("automatic"));
  on("lines", draw);
  on("zoom-in", () => zoom(1.25));
  on("zoom-out", () => zoom(0.8));
  on("fit", fit);
  on("actual", () => zoom(1 / view.scale / (window.devicePixelRatio || 1)));
  on("to-well", () => open(view.well));
  on("previous", () => step(-1));
  on("next", () => step(1));
  on("close", close);
  dialog.addEventListener("keydown", key);
  dialog.addEventListener("cancel", event => { event.preventDefault(); close(); });
  stage.addEventListener("wheel", event => {
    const frame = stage.getBoundingClientRect();
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), event.clientX - frame.left, event.clientY - frame.top);
  }, {passive: false});
  stage.addEventListener("pointerdown", press);
  stage.addEventListener("pointermove", drag);
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, release);
  addEventListener("resize", () => { if (dialog.open) fit(); });
  return {open, close, preview, display, view};
})();

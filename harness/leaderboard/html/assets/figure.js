// Plots: one place that draws them, in the colours of the theme, with a table beside each.

const RENDER_AS_CANVAS = 2500; // marks beyond which one canvas is faster than as many nodes

function colour(name) {
  const probe = el("span", { hidden: true });
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function palette() {
  const names = ["ink", "muted", "line", "grid", "card", "accent", "good", "bad", "far-good", "far-bad", "middle", "part-1", "part-2", "part-3", "part-4"];
  return Object.fromEntries(names.map((name) => [name.replace("-", "_"), colour(name)]));
}

function theme(c) {
  const font = getComputedStyle(document.body).fontFamily;
  return {
    aria: false,
    background: null,
    font,
    view: { stroke: null },
    axis: {
      labelColor: c.muted, titleColor: c.muted, gridColor: c.grid, domainColor: c.line, tickColor: c.line,
      labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500, titlePadding: 8, labelLimit: 170,
    },
    legend: { labelColor: c.ink, titleColor: c.muted, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500, symbolSize: 90 },
    text: { color: c.ink, fontSize: 12 },
    rule: { color: c.muted },
    point: { color: c.accent, filled: true, opacity: 1 },
    bar: { color: c.accent },
  };
}

const figures = [];

// given: title, caption() -> text, draw(width, colours) -> {spec, marks} or a text that says why
// there is nothing to draw, table() -> {head, rows}, open(datum) on a click.
function figure(given) {
  const plot = el("div", { class: "plot", role: "img", "aria-label": given.title });
  const caption = el("figcaption");
  const numbers = el("div");
  const more = el("details", { ontoggle: () => more.open && fill() }, el("summary", {}, "The numbers as a table"), numbers);
  const fill = () => numbers.replaceChildren(dataTable({ ...given.table(), caption: given.title }));
  const made = el("figure", {}, el("h3", {}, given.title), caption, plot, more);
  const own = { given, plot, more, width: 0, stale: true, visible: false, turn: 0, view: null };
  own.update = () => {
    own.stale = true;
    caption.textContent = given.caption();
    plot.setAttribute("aria-label", `${given.title}. ${caption.textContent}`);
    if (more.open) fill();
    if (own.visible) draw(own);
  };
  figures.push(own);
  seen.observe(made);
  resized.observe(plot);
  own.element = made;
  made.drawing = own;
  return own;
}

const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const own = entry.target.drawing;
      own.visible = entry.isIntersecting;
      if (own.visible && own.stale) draw(own);
    }
  },
  { rootMargin: "600px" },
);

const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const own = target.parentElement?.drawing;
    if (own && own.width && Math.abs(own.width - target.clientWidth) > 8) own.update();
  }
});

async function draw(own) {
  const width = own.plot.clientWidth;
  if (!width || !window.vegaEmbed) return;
  own.stale = false;
  own.width = width;
  try {
    await drawPlot(own, width, ++own.turn);
  } catch (error) {
    console.error(own.given.title, error);
    own.plot.replaceChildren(el("p", { class: "none" }, `This plot could not be drawn (${error.message}); its numbers are in the table.`));
  }
}

// `turn` tells whether a later call has overtaken this one while the library worked.
async function drawPlot(own, width, turn) {
  const colours = palette();
  const made = own.given.draw(width, colours);
  own.view?.finalize();
  own.view = null;
  own.more.hidden = typeof made === "string";
  if (typeof made === "string") {
    own.plot.replaceChildren(el("p", { class: "none" }, made));
    return;
  }
  const host = el("div");
  const found = await embed(host, made, colours);
  if (turn !== own.turn) {
    found.finalize();
    return;
  }
  own.view = found;
  if (own.given.open) found.view.addEventListener("click", (_, item) => item?.datum && own.given.open(item.datum));
  host.setAttribute("aria-hidden", "true"); // the plot is one image, named by its title and caption
  own.plot.replaceChildren(host);
  own.plot.classList.toggle("tall", Boolean(made.tall));
  own.plot.dataset.drawn = "yes";
}

const embed = (host, made, colours) =>
  window.vegaEmbed(host, made.spec, {
    actions: false, ast: true, defaultStyle: false, tooltip: showTip, config: theme(colours),
    renderer: (made.marks ?? 0) > RENDER_AS_CANVAS ? "canvas" : "svg",
  });

function redraw() {
  for (const own of figures) own.update();
}

function showTip(handler, event, item, value) {
  const tip = $("tip");
  if (!value || typeof value !== "object") {
    tip.hidden = true;
    return;
  }
  const lines = Object.entries(value).flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, String(text))]);
  tip.replaceChildren(el("dl", {}, lines));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = event.clientX + 16 + box.width > innerWidth ? event.clientX - box.width - 12 : event.clientX + 16;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - box.height - 4))}px`;
}
addEventListener("keydown", (event) => event.key === "Escape" && ($("tip").hidden = true));

const tip = (...fields) => fields.map(([field, title]) => ({ field, title, type: "nominal" }));

// Room for the longest label, in pixels.
function labelWidth(labels, most = 180) {
  const pen = labelWidth.pen ??= document.createElement("canvas").getContext("2d");
  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return Math.min(most, Math.max(0, ...labels.map((label) => pen.measureText(label).width)) + 4);
}

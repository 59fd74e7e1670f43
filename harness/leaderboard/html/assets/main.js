// Puts the page together and keeps it in step with what is chosen.

const THEMES = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" };

// Storage is refused to files in some browsers: the choice then lasts as long as the page.
function stored(value) {
  try {
    if (value === undefined) return localStorage.getItem("theme");
    localStorage.setItem("theme", value);
  } catch {
    return null;
  }
  return value;
}

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = THEMES[name];
  $("theme").dataset.theme = name;
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const name = names[(names.indexOf($("theme").dataset.theme) + 1) % names.length];
  setTheme(name);
  stored(name);
  announce(THEMES[name]);
  redraw();
}

function build() {
  bodyOf("ranking").replaceChildren(el("p", { id: "filtered", class: "banner", hidden: true }), ranking.element, el("div", { id: "ranking-notes", class: "block" }));
  bodyOf("significance").replaceChildren(el("div", { class: "pair" }, theseGains.element, generalGains.element), el("div", { class: "pair block" }, places.element, critical.element), startGains);
  bodyOf("differences").replaceChildren(heat.element);
  bodyOf("labels")?.replaceChildren(byBudget.element);
  bodyOf("tuning")?.replaceChildren(trialsTold, el("div", { class: "block" }, byTrials.element));
  bodyOf("cost").replaceChildren(el("div", { class: "pair" }, byTime.element, bySize.element), el("div", { class: "block" }, costParts.element));
  bodyOf("cell").replaceChildren(
    el("p", { class: "intro" }, "A strategy on a dataset with a backbone. Choose one here, in the heat map or in the list of runs."),
    el("div", { class: "chooser", id: "chooser" }),
    el("div", { id: "cell-facts" }),
    el("div", { class: "pair" }, scoreCurve.element, lossCurve.element, matrix.element, calibration.element), el("div", { class: "block" }, blockForest.element),
  );
  drawRuns();
}

const overall = [theseGains, generalGains, places, critical, heat, byBudget, byTrials, byTime, bySize, costParts];
const FILTERS = ["track", ...Object.keys(EVERYTHING), "metric"];

function refresh(changes) {
  if (FILTERS.some((name) => name in changes)) {
    drawHead();
    drawControls();
    updateRanking();
    drawExternal();
    drawStarts();
    for (const one of overall) one.update();
    runTable.update();
    drawData();
    if ("track" in changes) {
      drawProtocol();
      drawTuning();
    }
    announce(`${filterText()} ${plural(blocksNow().length, "block")} shown, by ${metricNow().title}.`.trim());
  }
  drawCell();
}

function start() {
  setTheme(Object.keys(THEMES).includes(stored()) ? stored() : "auto");
  $("theme").addEventListener("click", nextTheme);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  if (!page.tracks.some(hasBudgets)) $("labels").remove();
  if (!page.tracks.some((track) => track.tuned)) $("tuning").remove();
  drawSections();
  drawClaims();
  if (!page.tracks.length) {
    drawData();
    $("lead").textContent = "No runs yet.";
    $("filters").hidden = true;
    for (const id of ["ranking", "significance", "differences", "cost", "cell", "protocol", "runs"]) {
      bodyOf(id).replaceChildren(el("p", { class: "none" }, "No runs yet."));
    }
    return;
  }
  build();
  onChange(refresh);
  drawProtocol();
  refresh({ track: 0 });
  if (!openHash()) openFirst();
  announce("");
  addEventListener("hashchange", openHash);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => figures.forEach((own) => own.stale && draw(own)));
}

// The best row where it has details, so that the section shows what it is for.
function openFirst() {
  const runs = columns.id.map((_, run) => run).filter((run) => columns.track[run] === 0 && isFinished(run));
  const run = runs.find((one) => detailOf(one)) ?? runs[0];
  if (run === undefined) drawCell();
  else choose({ row: columns.row[run], block: columns.block[run], run });
}

start();
// The plotting library comes last in the file, so that the tables are there before it is read.
addEventListener("DOMContentLoaded", () => figures.forEach((own) => own.visible && draw(own)));

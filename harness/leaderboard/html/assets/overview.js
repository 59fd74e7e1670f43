// The head of the page, the choice of what is shown, and the claims.

function drawHead() {
  const track = trackNow();
  const of = (key) => unique(track.blocks.map((block) => block[key])).length;
  const tried = Math.max(0, ...track.rows.map((row) => row.tuning?.trials ?? 0));
  const starts = hasStarts(track) ? `, ${plural(of("start"), "starting point")}` : "";
  const budgets = hasBudgets(track) ? `, ${plural(unique(track.blocks.map(ofBudget)).length, "label budget")}` : "";
  const runs = page.runs.of - columns.id.length + firstPlaces.size;
  $("kicker").textContent = page.suites.length ? `Leaderboard, ${page.suites.length > 1 ? "suites" : "suite"} ${list(page.suites)}` : "Leaderboard";
  $("lead").textContent = track.rows
    ? `${plural(track.rows.length, "strateg").replace(/strategs?$/, track.rows.length === 1 ? "strategy" : "strategies")} on ${plural(track.blocks.length, "block")} (${plural(of("dataset"), "dataset")}, ${plural(of("backbone"), "backbone")}, ${of("modality") === 1 ? "1 modality" : `${of("modality")} modalities`}${starts}${budgets}), ${plural(track.seeds.length, "seed")}${splitsText(track)}, ${plural(runs, "run")}${tried ? `, those of this track the best of up to ${plural(tried, "trial")}` : ""}. ${track.title}.`
    : "";
  const banners = [...page.banners, ...track.banners];
  $("conclusion").hidden = !page.conclusion;
  $("conclusion").textContent = (page.conclusion ?? []).join(" ");
  $("banners").hidden = !banners.length;
  $("banners").replaceChildren(el("div", { class: "banner" }, el("ul", {}, banners.map((text) => el("li", {}, text)))));
}

// Any number of datasets: a list of its own, for a select of several is hard to use by keys.
function datasetChoice(track) {
  const names = datasetsOf(track);
  if (names.length < 2) return [];
  const pick = (left) => choose({ datasets: left.length === names.length ? ALL : left });
  const box = (name, n) => el("label", {},
    el("input", { type: "checkbox", id: `dataset-${n}`, checked: isShown(name), onchange: () => pick(names.filter((one) => isShown(one) !== (one === name))) }), name);
  const all = (id, text, left) => el("button", { type: "button", id, onclick: () => pick(left) }, text);
  const shown = names.filter(isShown);
  const told = shown.length === names.length ? `all ${names.length}` : `${shown.length} of ${names.length}${shown.length ? `: ${list(shown, 2)}` : ""}`;
  return [el("details", { id: "datasets", class: "field", open: $("datasets")?.open },
    el("summary", { id: "datasets-summary" }, el("span", {}, "Datasets "), el("b", {}, told)),
    el("fieldset", {}, el("legend", { class: "unseen" }, "Datasets shown"), el("div", {}, all("datasets-all", "All", names), all("datasets-none", "None", [])), names.map(box)))];
}

// The list lies over the page: Escape, or a press beside it, puts it away.
function closeDatasets(event) {
  const open = $("datasets")?.open && $("datasets");
  if (!open || (event.type === "keydown" ? event.key !== "Escape" : open.contains(event.target))) return;
  open.open = false;
  if (event.type === "keydown") $("datasets-summary").focus();
}
for (const kind of ["keydown", "pointerdown"]) addEventListener(kind, closeDatasets);

function drawControls() {
  const track = trackNow();
  const named = (key) => [[ALL, "all"], ...unique(track.blocks.map((block) => block[key])).sort().map((name) => [name, name])];
  const parts = [];
  if (page.tracks.length > 1) {
    parts.push(select("Track", "track", page.tracks.map((one, n) => [n, one.title]), chosen.track,
      (value) => choose({ track: Number(value), ...EVERYTHING, row: 0, block: 0, run: null })));
  }
  parts.push(
    ...datasetChoice(track),
    select("Modality", "modality", named("modality"), chosen.modality, (modality) => choose({ modality })),
    select("Backbone", "backbone", named("backbone"), chosen.backbone, (backbone) => choose({ backbone })),
    ...(hasStarts(track) ? [select("Starting point", "start", named("start"), chosen.start, (start) => choose({ start }))] : []),
    ...(hasBudgets(track) ? [select("Label budget", "budget", [[ALL, "all budgets"], ...unique(track.blocks.map(ofBudget)).map((name) => [name, name])], chosen.labels, (labels) => choose({ labels }))] : []),
    select("Metric", "metric", page.metrics.map((metric, n) => [n, metric.title]), chosen.metric, (value) => choose({ metric: Number(value) })),
    el("button", { type: "button", id: "reset", disabled: isWhole(), onclick: () => choose({ ...EVERYTHING, metric: 0 }) }, "Show all"),
  );
  const focused = document.activeElement?.id;
  $("controls").replaceChildren(...parts);
  if (focused && $("controls").contains($(focused))) $(focused).focus();
}

function drawSections() {
  const links = [...document.querySelectorAll("main section")].map((section) => {
    const title = section.querySelector("h2").textContent;
    return el("li", {}, el("a", { href: `#${section.id}` }, title));
  });
  $("sections").replaceChildren(...links);
}

// -- claims -------------------------------------------------------------------------------------

function effectText({ unit, effect, low, high }) {
  if (!isNumber(effect) && !isNumber(low)) return null;
  const share = unit.startsWith("share");
  const text = (value) => (share ? percent(value) : points(value));
  const interval = isNumber(low) && isNumber(high) ? ` (bounds ${text(low)} to ${text(high)})` : "";
  return [el("span", { class: "effect" }, isNumber(effect) ? `${text(effect)}${share ? ` ${unit.replace("share ", "")}` : ` ${unit}`}` : "effect not known"), el("span", { class: "muted" }, interval)];
}

function averageText({ average, average_low: low, average_high: high, average_of: of, basis }) {
  if (!isNumber(average)) return null;
  return el("p", { class: "small" }, `Average gain: ${points(average)} points (95 % interval ${points(low)} to ${points(high)}, ${basis}), ${of}`);
}

function claimItem(claim) {
  const mark = { supported: "\u2713", contradicted: "\u2717", undecided: "?" }[claim.verdict] ?? "?";
  const n = [`${claim.cells} of ${claim.of} cells`, plural(claim.seeds, "seed"), claim.detail, claim.track].filter(Boolean);
  return el(
    "li", {},
    el("p", {}, el("span", { class: `badge ${["supported", "contradicted"].includes(claim.verdict) ? claim.verdict : ""}` }, `${mark} ${claim.verdict}`), claim.reason ? el("span", { class: "muted small" }, ` ${claim.reason}`) : null),
    el("p", {}, claim.text),
    effectText(claim) ? el("p", {}, effectText(claim)) : null,
    averageText(claim),
    el("p", { class: "muted small" }, `n: ${n.join("; ")}`),
  );
}

function drawClaims() {
  const body = bodyOf("claims");
  if (page.claims === null) {
    body.replaceChildren(el("p", { class: "none" }, "No claim was answered when this page was written."));
  } else if (!page.claims.length) {
    body.replaceChildren(el("p", { class: "none" }, "The suites of this board carry no claims."));
  } else {
    body.replaceChildren(
      el("p", { class: "intro" }, "Sentences from the study this benchmark extends, each answered from the runs: supported where the lower bound lies beyond the claim's threshold, contradicted where the upper one lies short of it; each errs in at most 2.5 %."),
      el("ul", { class: "claims" }, page.claims.map(claimItem)),
    );
  }
}

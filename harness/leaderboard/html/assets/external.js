// Further test sets: a section of its own, there only where a track has any.

function externalSets(track) {
  const keys = track.rows.flatMap((row) => (row.external ?? []).map((one) => [one.dataset, one.name]));
  return [...new Map(keys.map((key) => [key.join(" "), key])).values()];
}

// The difference from the test split over all backbones, positive is better.
function externalDrop(row, number, one) {
  const given = (trackNow().statistics?.external ?? []).filter(([at, dataset, name]) => at === number && dataset === one.dataset && name === one.name);
  const found = given.find(([, , , block]) => !block) ?? given[0];
  if (found) {
    const drop = judged(found.slice(4));
    return `${points(drop.value)} (${intervalText(drop)})`;
  }
  if (!isNumber(one.value) || !isNumber(one.internal)) return NOTHING;
  return points((page.metrics[0].higher === false ? -100 : 100) * (one.value - one.internal));
}

// What the intervals hold, in the words of the other formats; where there are none nothing is said.
function externalInterval() {
  const known = (trackNow().statistics?.external ?? []).map(([, , , , ...one]) => judged(one));
  if (!known.length) return "";
  const over = known.every((one) => one.seeds === 1) ? "; one seed says nothing of another" : repeatsNow() === "split" ? ", other seeds and other splits" : " and other seeds";
  return `, with its interval of ${levelText()} over other images of both sets${over}`;
}

function externalSection() {
  const known = $("external");
  if (known) return known;
  const made = el("section", { id: "external", "aria-labelledby": "external-title" }, el("h2", { id: "external-title" }, "External tests"), el("div", { class: "body" }));
  $("differences").after(made);
  drawSections();
  return made;
}

function drawExternal() {
  if (!page.tracks.some((track) => externalSets(track).length)) return;
  externalSection();
  const track = trackNow();
  const sets = externalSets(track).filter(([dataset]) => isShown(dataset));
  if (!sets.length) {
    bodyOf("external").replaceChildren(el("p", { class: "none" }, isFiltered() ? "The datasets shown have no further test set." : "This track has no further test set."));
    return;
  }
  const title = ([dataset, name]) => (new Set(sets.map(([of]) => of)).size > 1 ? `${dataset}, ${name}` : name);
  const rows = track.rows.map((row, number) => [
    row.label,
    ...sets.flatMap(([dataset, name]) => {
      const one = (row.external ?? []).find((found) => found.dataset === dataset && found.name === name);
      if (!one) return [NOTHING, NOTHING];
      const part = one.runs < one.wanted ? ` (${one.runs} of ${one.wanted} runs)` : "";
      return [`${metricText(one.value)}${part}`, externalDrop(row, number, one)];
    }),
  ]);
  bodyOf("external").replaceChildren(
    el("p", { class: "intro" }, `Further test sets that every run predicts: ${page.metrics[0].title}, ${meanOver()} and backbones; in no rank, average or test of this page. Less test: the difference from the test split in the same runs, in points, positive is better${externalInterval()}. ${filterText()}`.trim()),
    dataTable({ caption: "External tests", head: ["strategy", ...sets.flatMap((set) => [title(set), `${title(set)} less test`])], rows }),
  );
}

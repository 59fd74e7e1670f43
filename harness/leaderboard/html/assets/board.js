// The main table: who is ahead, by how much, and on how many runs.

const opened = new Set();

function boardColumns() {
  const track = trackNow();
  const metric = metricNow();
  const control = controlOf(track);
  const found = [
    { id: "strategy", title: "strategy", words: true, key: (one) => one.row.label },
    { id: "rank", title: "mean\nrank", key: (one) => one.rank, hint: "Mean rank over the blocks shown, 1 is best" },
    { id: "overall", title: "rank over\nall blocks", key: (one) => one.row.mean_rank, hint: "The board's own mean rank, whatever is filtered" },
    { id: "value", title: metric.id.replace(/-/g, " "), key: (one) => one.value, down: metric.higher !== false },
    { id: "difference", title: `vs ${control?.label ?? page.control}\n(points)`, key: (one) => one.difference, down: metric.higher !== false },
    { id: "won", title: "won/tied/lost", spare: true, key: (one) => (one.won ? one.won[0] - one.won[2] : null), down: true },
    { id: "tested", title: `on these datasets${trackNow().statistics && basisNow() === ONE_SEED ? `\n(${ONE_SEED})` : ""}`, words: true, spare: true, key: (one) => averagesNow("these").get(one.number)?.value, down: true, hint: "Average gain over the control, its interval, and what the whole board's error rate of 5 % allows to say" },
    { id: "runs", title: "runs", spare: true, key: (one) => one.defined, down: true },
    { id: "seconds", title: "s/run", spare: true, key: (one) => one.seconds, hint: "Median seconds a run, as if it had been alone" },
    { id: "trainable", title: "parameters\nthat learn", spare: true, key: (one) => one.trainable && Math.max(...one.trainable) },
  ];
  const left = { tested: isWhole() && averagesNow("these").size, overall: isFiltered() && chosen.metric === 0 };
  return found.filter(({ id }) => left[id] ?? true);
}

// Every text that reads as the best one does is marked, unless that is everybody.
function bestTexts(items, key, text, highest) {
  const present = items.map(key).filter(isNumber);
  if (!present.length) return null;
  const best = text(highest ? Math.max(...present) : Math.min(...present));
  return unique(present.map(text)).length > 1 ? best : null;
}

function boardRows(items) {
  const track = trackNow();
  const complete = items.filter((one) => one.complete);
  const best = {
    rank: bestTexts(complete, (one) => one.rank, rankText, false),
    value: metricNow().higher === null ? null : bestTexts(complete, (one) => one.value, metricText, metricNow().higher),
    seconds: bestTexts(complete, (one) => one.seconds, seconds, false),
  };
  const widest = Math.max(1, ...complete.map((one) => Math.abs(one.difference ?? 0)));
  const marked = (text, winner, more = "") => el("td", { class: `${text === winner ? "best " : ""}${more}` }, text);
  return items.flatMap((one) => {
    const open = opened.has(one.row.label);
    const id = `row-${chosen.track}-${one.number}`;
    const toggle = el("button", { type: "button", class: "row", "aria-expanded": String(open), "aria-controls": id, onclick: () => toggleRow(one.row.label) }, one.row.label);
    const cells = {
      strategy: () => el("th", { scope: "row", class: "words" }, toggle),
      rank: () => marked(rankText(one.rank), best.rank),
      overall: () => el("td", {}, rankText(one.row.mean_rank)),
      value: () => marked(metricText(one.value), best.value),
      difference: () => el("td", {}, one.number === track.control ? "control" : [gain(one.difference, widest), brief(one.number)]),
      won: () => el("td", { class: "spare" }, wonText(one)),
      tested: () => el("td", { class: "words spare" }, testedText(one.number)),
      runs: () => el("td", { class: "spare" }, runsText(one)),
      seconds: () => marked(seconds(one.seconds), best.seconds, "spare"),
      trainable: () => el("td", { class: "spare" }, trainableText(one)),
    };
    const shown = el("tr", { class: one.complete ? null : "unranked" }, ranking.columns.map((column) => cells[column.id]()));
    const more = open ? el("tr", { class: "more", id }, el("td", { colspan: ranking.columns.length }, rowDetails(one))) : null;
    return more ? [shown, more] : [shown];
  });
}

const wonText = (one) => (one.won ? one.won.join("/") : NOTHING);
const runsText = (one) => (one.defined === one.wanted ? String(one.defined) : `${one.defined} of ${one.wanted}`);
const trainableText = (one) => (one.trainable ? span(Math.min(...one.trainable), Math.max(...one.trainable)) : NOTHING);

// Under the difference where the page is narrow and the column of verdicts is not there.
const brief = (row) => (isWhole() && averagesNow("these").size ? el("small", { class: "narrow" }, testedText(row)) : null);

function gain(value, widest) {
  const text = el("span", { class: "gain" }, points(value));
  if (!isNumber(value)) return text;
  const bar = el("i", { class: favour(value) < 0 || (favour(value) === 0 && value < 0) ? "down" : "up" });
  bar.style.width = `${Math.min(50, (Math.abs(value) / widest) * 50)}%`;
  return el("span", {}, text, el("span", { class: "bar", "aria-hidden": "true" }, bar));
}

function testedText(row) {
  if (row === trackNow().control) return "control";
  const found = averagesNow("these").get(row);
  if (!found) return NOTHING;
  const mark = { better: "\u25b2 better", worse: "\u25bc worse", undecided: "\u25cb undecided", untested: "\u25cb not tested" }[found.verdict];
  return el("span", { class: { better: "up", worse: "down" }[found.verdict] ?? "muted" }, `${intervalText(found)}, `, el("span", { class: "whole" }, mark));
}

function toggleRow(label) {
  if (!opened.delete(label)) opened.add(label);
  ranking.update();
  [...ranking.body.querySelectorAll("button.row")].find((one) => one.textContent === label)?.focus();
}

// What a row is and what it rests on.
function rowDetails(one) {
  const { row, number, runs } = one;
  const made = unique(runs.map((run) => coded("made", run)));
  const plugin = made.find((one) => one.plugins?.strategy)?.plugins.strategy;
  const pairs = [
    ["Settings", row.settings.length ? row.settings.map(([name, value]) => `${name} = ${value}`).join(", ") : "none"],
    ["Code", `${plugin ? `${plugin[1] ?? plugin[0]} ${plugin[2] ?? ""}, ` : ""}sha256 ${short(row.source)}`],
    ["Made with", made.length ? unique(made.map((one) => `harness ${one.harness}${one.commit ? ` (${short(one.commit)}${one.dirty ? ", changed" : ""})` : ""} on ${one.device}`)).join("; ") : "no finished run"],
    ["Epochs", isNumber(row.spend.epochs) ? `${fixed(row.spend.epochs, 1)} of ${fixed(row.spend.planned, 1)} on average; ${plural(row.spend.stopped, "run")} stopped early` : "not recorded"],
  ];
  for (const [name, groups] of [["By modality", row.modalities], ["By backbone", row.backbones], ["By starting point", row.starts ?? []]]) {
    if (groups.length > 1 && isWhole()) {
      pairs.push([name, groups.map((one) => `${one.group} ${metricText(one.value)}${isNumber(one.rank) ? ` (rank ${rankText(one.rank)})` : ""}`).join(", ")]);
    }
  }
  if (isWhole()) pairs.push(...rowStatistics(number));
  const why = whyIncomplete(row);
  if (why) pairs.push(["Not ranked", why]);
  const spare = [["Won, tied, lost", wonText(one)], ["Runs", runsText(one)], ["Seconds a run", seconds(one.seconds)], ["Parameters that learn", trainableText(one)]];
  const open = el("button", { type: "button", onclick: () => openCell(number, blocksNow()[0] ?? 0) }, "Open a cell of this row");
  return el("div", {}, el("div", { class: "narrow" }, definitions(spare)), definitions(pairs), el("p", {}), runs.length ? open : null);
}

// What was tested of a row: these datasets and datasets in general, named apart.
function rowStatistics(number) {
  const given = trackNow().statistics;
  if (!given) return [];
  const pairs = [];
  const gain = (one, basis) => `${points(one.value)} points (${levelText()} interval ${intervalText(one)}, ${basis}): ${verdictText(one)}`;
  const [these, general] = ["these", "general"].map((scope) => averagesNow(scope).get(number));
  if (these) pairs.push(["Gain on these datasets", gain(these, basisNow())]);
  if (these) pairs.push(["Gain on datasets in general", general ? gain(general, "other datasets") : "needs four datasets"]);
  const places = given.ranks.find(([row]) => row === number);
  if (places) {
    const [, own, beyond] = places;
    const span = ([low, high]) => (low === high ? String(low) : `${low} to ${high}`);
    pairs.push(["Place by average", `${span(own)} on these datasets${basisNow() === ONE_SEED ? ` (${ONE_SEED})` : ""}, ${beyond ? span(beyond) : "not known"} on datasets in general`]);
  }
  const chance = given.improvement.find(([row]) => row === number);
  if (chance) pairs.push(["P(better than control)", `${fixed(chance[1], 2)} of one run against another in the same block, as measured`]);
  return pairs;
}

function whyIncomplete(row) {
  if (row.ranked) return null;
  const kinds = Object.entries(row.lacking).map(([kind, times]) => {
    const examples = row.gaps.filter((gap) => gap[0] === kind).slice(0, 2);
    return `${times} ${kind} (${examples.map(([, block, seed, reason, split]) => `${block}, seed ${placeText(seed, split)}${reason && `: ${reason}`}`).join("; ")})`;
  });
  if (row.not_asked) kinds.push(`${row.not_asked} not asked for`);
  return `${row.runs} of ${row.wanted} runs: ${kinds.join(". ")}.`;
}

function boardCaption() {
  const [track, metric, blocks] = [trackNow(), metricNow(), blocksNow()];
  const direction = { true: "higher is better", false: "lower is better", null: "direction not known, so not ranked by" }[metric.higher];
  const of = (key) => plural(unique(blocks.map((block) => track.blocks[block][key])).length, key);
  const budgets = hasBudgets(track) ? `, ${plural(unique(blocks.map((block) => ofBudget(track.blocks[block]))).length, "label budget")}` : "";
  const starts = hasStarts(track) ? `, ${plural(unique(blocks.map((block) => track.blocks[block].start)).length, "starting point")}` : "";
  const control = controlOf(track);
  return [
    `${metric.title}, ${direction}. Mean over ${plural(blocks.length, "block")} (${of("dataset")}, ${of("backbone")}${starts}${budgets}), ${track.seeds.length === 1 ? "seed" : "seeds"} ${ranges(track.seeds)}${splitsText(track)}. Mean rank over blocks, 1 is best.`,
    control ? `Against ${control.label}: mean difference in points (hundredths), and blocks won, tied (within one point) and lost.` : "",
    isFiltered() && blocks.length ? "Ranks are those among all complete rows, averaged over the blocks shown." : "",
    isFiltered() && !blocks.length ? "No block is left." : "",
  ].filter(Boolean).join(" ");
}

const ranking = new SortTable({
  columns: [],
  items: standings,
  draw: boardRows,
  label: "Ranking",
  sortedBy: "rank",
});

function updateRanking() {
  ranking.columns = boardColumns();
  if (!ranking.columns.some(({ id }) => id === ranking.sortedBy)) ranking.sortedBy = "rank";
  ranking.caption.textContent = boardCaption();
  ranking.update();
  const track = trackNow();
  $("filtered").hidden = !isFiltered();
  $("filtered").textContent = isFiltered() ? `${filterText()} This table ranks over the ${blocksNow().length} of ${plural(track.blocks.length, "block")} shown${chosen.metric === 0 ? "; the board's own ranking is under “rank over all blocks”" : ""}. Conclusion, claims, tests and tuning stay over all blocks.` : "";
  const incomplete = track.rows.filter((row) => !row.ranked);
  $("ranking-notes").replaceChildren(
    ...[...track.notes, ...(incomplete.length ? ["Rows that lack a run or a figure are not ranked and count in nobody's rank:"] : [])].map((text) => el("p", { class: "small muted" }, text)),
    incomplete.length ? el("ul", { class: "small" }, incomplete.map((row) => el("li", {}, el("b", {}, row.label), `: ${whyIncomplete(row)}`))) : "",
  );
}

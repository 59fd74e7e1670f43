// What the figures rest on: the protocol, the data, the starting points, and every run.

function flat(value, name = "") {
  if (value === null || typeof value !== "object") return [[name, value]];
  if (Array.isArray(value)) return [[name, value.join(", ") || "none"]];
  return Object.entries(value).flatMap(([key, one]) => flat(one, name ? `${name}.${key}` : key));
}

function drawProtocol() {
  const track = trackNow();
  const assumed = new Map(page.assumed.map((one) => [one.field, one]));
  const several = unique(page.assumed.map((one) => one.suite)).length > 1;
  const named = [
    ["weights", track.weights], ["precision", track.precision],
    ["limit", track.limit === null ? "none: all images" : `${track.limit} images of each split`],
    ["engine", track.engine === null ? "no run yet" : `result version ${track.engine}`],
    ["seeds", ranges(track.seeds)],
    ...(splitsText(track) ? [["splits", ranges(unique(drawsOf(track.blocks).map(([split]) => split)).sort((a, b) => a - b))]] : []),
  ];
  const field = (name, value) => {
    const source = assumed.get(name) ?? assumed.get(name.split(".")[0]);
    const shown = value === null ? "none" : String(value);
    const title = name.replace(/_/g, " ").replace(".", ": ");
    if (!source) return [title, shown];
    return [title, el("span", { class: "assumed" }, shown), `assumed: ${source.source.replace(/^assumed: /, "")}${several ? ` (${source.suite})` : ""}`];
  };
  const fields = track.protocol ? flat(track.protocol).filter(([name]) => name !== "name" && !(name === "split_seed" && splitsText(track))) : [];
  bodyOf("protocol").replaceChildren(
    el("p", { class: "intro" }, `What every strategy of this track shares${track.protocol ? `: protocol ${track.protocol.name}, sha256 ${short(track.protocol_digest)}` : "; no run is there yet"}. Underlined values are assumed: the study does not state them.`),
    facts([...named, ...fields.map(([name, value]) => field(name, value))]),
  );
}

function drawData() {
  const shown = page.data.filter((note) => isShown(note.dataset));
  const images = (note) => ["train", "validation", "test"].map((split) => note.images[split] ?? 0).join(" / ");
  const parts = [];
  if (chosen.datasets !== ALL) parts.push(el("p", { class: "intro" }, `Shown: ${shown.length} of ${plural(page.data.length, "dataset")}.`));
  if (shown.length) {
    parts.push(
      dataTable({
        caption: "Datasets", words: [0, 1, 4, 5, 6], tall: false,
        head: ["dataset", "modality", "classes", "train / validation / test", "split rule", "licence", "source", "left out", "data", "split"],
        rows: shown.map((note) => [
          note.label, note.modality, String(note.classes), images(note), note.rule, note.licence,
          `${note.procedural ? "procedural. " : ""}${note.source}${note.revision ? ` @ ${short(note.revision)}` : ""}` || NOTHING,
          String(note.skipped), el("code", {}, short(note.fingerprint)), el("code", {}, short(note.split_sha256)),
        ]),
      }),
    );
  }
  const problems = shown.flatMap((note) => note.problems.map((text) => el("li", {}, el("b", {}, note.label), `: ${text}`)));
  if (problems.length) parts.push(el("h3", { class: "block" }, "Known problems of the data"), el("ul", {}, problems));
  const loaded = page.weights.filter((note) => note.sha256 !== "none");
  if (loaded.length) {
    parts.push(
      el("h3", { class: "block" }, "Starting points"),
      dataTable({
        caption: "Starting points", words: [0, 1, 2, 3, 6], tall: false,
        head: ["backbone", "weights", "source", "licence", "new tensors", "sha256", "kind"],
        rows: loaded.map((note) => [note.backbone, note.name, note.source || NOTHING, note.licence || NOTHING, unique(note.new).join(" to "), el("code", {}, short(note.sha256)), note.miniature ? "miniature" : "full"]),
      }),
    );
  }
  if (page.notes.length) parts.push(el("h3", { class: "block" }, "Notes"), el("ul", {}, page.notes.map((text) => el("li", {}, text))));
  bodyOf("data-notes").replaceChildren(...(parts.length ? parts : [el("p", { class: "none" }, "No run has said what data it saw.")]));
}

// -- runs ----------------------------------------------------------------------------------------

const PAGE = 25;
const shownRuns = { first: 0, search: "" };

function runText(run) {
  const track = page.tracks[columns.track[run]];
  const block = track.blocks[columns.block[run]];
  return [columns.id[run], track.rows[columns.row[run]].label, block.label, `seed-${columns.seed[run]}`, hasSplits ? `split-${splitOf(run)}` : "", coded("status", run), coded("made", run).commit ?? ""].join(" ").toLowerCase();
}

function runsNow() {
  const words = shownRuns.search.toLowerCase().replace(/(seed|split)\s+(?=\d)/g, "$1-").split(/\s+/).filter(Boolean);
  const track = trackNow();
  const blocks = new Set(blocksNow());
  return columns.id
    .map((_, run) => run)
    .filter((run) => columns.track[run] === chosen.track && blocks.has(columns.block[run]))
    .filter((run) => !words.length || words.every((word) => runText(run).includes(word)))
    .map((run) => ({ run, row: track.rows[columns.row[run]], block: track.blocks[columns.block[run]], made: coded("made", run) }));
}

const codeText = ({ made }) => (made.plugins?.strategy ? `${made.plugins.strategy[1] ?? made.plugins.strategy[0]} ${made.plugins.strategy[2] ?? ""}` : "strategy").trim();
const harnessText = ({ made }) => `${made.harness || "unknown"}${made.commit ? ` @ ${short(made.commit)}` : ""}${made.dirty ? " (changed)" : ""}`;
const RUN_COLUMNS = [
  { id: "id", title: "run", words: true, key: ({ run }) => columns.id[run], cell: ({ run }) => runLink(run) },
  { id: "strategy", title: "strategy", words: true, key: ({ row }) => row.label },
  { id: "dataset", title: "dataset", words: true, key: ({ block }) => block.dataset },
  { id: "backbone", title: "backbone", words: true, key: ({ block }) => block.backbone },
  ...(page.tracks.some(hasStarts) ? [{ id: "start", title: "start", words: true, key: ({ block }) => block.start ?? "" }] : []),
  { id: "seed", title: "seed", key: ({ run }) => columns.seed[run] },
  ...(hasSplits ? [{ id: "split_number", title: "split", key: ({ run }) => splitOf(run) }] : []),
  ...(page.runs.coded.trial ? [{ id: "trial", title: "trial", words: true, key: ({ run }) => coded("trial", run)?.number ?? null, cell: ({ run }) => trialText(run) }] : []),
  { id: "status", title: "status", words: true, key: ({ run }) => coded("status", run), cell: ({ run }) => statusText(run) },
  { id: "value", title: "metric", down: true, key: ({ run }) => figureOf(run), cell: ({ run }) => metricText(figureOf(run)) },
  { id: "seconds", title: "s alone", key: ({ run }) => columns.total[run], cell: ({ run }) => seconds(columns.total[run]) },
  { id: "epochs", title: "epochs", key: ({ run }) => coded("epochs", run) },
  { id: "code", title: "strategy code", words: true, key: codeText, cell: (one) => [codeText(one), " ", el("code", {}, short(one.made.sources.strategy))] },
  { id: "backbone_code", title: "backbone code", words: true, key: ({ made }) => made.sources.backbone ?? "", cell: ({ made }) => el("code", {}, short(made.sources.backbone)) },
  { id: "data", title: "data", words: true, key: ({ block }) => block.data, cell: ({ block }) => el("code", {}, short(block.data)) },
  { id: "split", title: "split file", words: true, key: ({ run }) => coded("split", run), cell: ({ run }) => el("code", {}, short(coded("split", run))) },
  { id: "weights", title: "weights", words: true, key: ({ block }) => block.weights, cell: ({ run, block }) => [coded("weights_name", run) || "none", " ", block.weights === "none" ? "" : el("code", {}, short(block.weights))] },
  { id: "harness", title: "harness", words: true, key: harnessText },
  { id: "device", title: "device", words: true, key: ({ made }) => made.device },
  { id: "libraries", title: "libraries", words: true, key: ({ made }) => libraries(made) },
  { id: "finished", title: "finished", words: true, key: ({ run }) => coded("finished", run) },
];
const libraries = (made) => [made.python && `python ${made.python}`, ...Object.entries(made.libraries ?? {}).filter(([name]) => name.startsWith("torch")).map(([name, version]) => `${name} ${version}`)].filter(Boolean).join(", ") || NOTHING;

function trialText(run) {
  const trial = coded("trial", run);
  return trial ? [String(trial.number), ...trial.settings.map(([name, value]) => `${name} ${value}`)].join(", ") : NOTHING;
}

function runLink(run) {
  const label = `Open run ${columns.id[run]}`;
  return el("button", { type: "button", class: "link code", "aria-label": label, title: columns.id[run], onclick: () => openCell(columns.row[run], columns.block[run], run) }, short(columns.id[run]));
}

function statusText(run) {
  const error = page.runs.errors[run];
  return error?.length ? `${coded("status", run)}: ${error[0]}: ${error[1]}` : coded("status", run);
}

const runTable = new SortTable({
  columns: RUN_COLUMNS,
  items: runsNow,
  label: "Runs",
  caption: "Identity, figures and provenance of each run",
  sortedBy: "strategy",
  draw: (items) => {
    shownRuns.first = Math.min(shownRuns.first, Math.max(0, Math.ceil(items.length / PAGE) - 1) * PAGE);
    const { first } = shownRuns;
    const last = Math.min(items.length, first + PAGE);
    const turn = (by) => () => { shownRuns.first += by; runTable.update(); $(by < 0 ? "earlier" : "later").focus(); };
    $("run-pages").replaceChildren(
      el("button", { type: "button", id: "earlier", disabled: first === 0, onclick: turn(-PAGE) }, "Previous"),
      el("button", { type: "button", id: "later", disabled: last >= items.length, onclick: turn(PAGE) }, "Next"),
      el("span", { class: "muted", role: "status" }, `${items.length ? `${first + 1} to ${last} of ${plural(items.length, "run")}` : "No run matches."} ${filterText()}`.trim()),
    );
    return items.slice(first, last).map((one) =>
      el("tr", { class: isFinished(one.run) ? null : "unranked" }, RUN_COLUMNS.map(({ words, key, cell }, n) =>
        el(n ? "td" : "th", { scope: n ? null : "row", class: words ? "words" : null }, cell ? cell(one) : String(key(one) ?? NOTHING)))));
  },
});

function drawRuns() {
  const left = page.runs.of - columns.id.length;
  const search = el("input", { type: "search", id: "search", placeholder: "strategy, dataset, seed 0, failed, id", oninput: () => { shownRuns.search = search.value; shownRuns.first = 0; runTable.update(); } });
  bodyOf("runs").replaceChildren(
    el("p", { class: "intro" }, `Each run with the code, data and starting point that made it; hashes are the first eight digits of a sha256.${left > 0 ? ` The list holds ${plural(columns.id.length, "run")} of ${page.runs.of.toLocaleString("en")}.` : ""} ${whatIsLeftOut()}`),
    el("p", {}, el("a", { href: "leaderboard.csv", id: "csv" }, "leaderboard.csv"), " holds every run with all its figures, unrounded. It lies beside this page where harness wrote both; elsewhere ", el("code", {}, "harness board FOLDER --format csv"), " prints it."),
    el("div", { class: "chooser" }, el("label", { class: "field", for: "search" }, el("span", {}, "Search runs"), search)),
    runTable.element,
    el("div", { class: "pages", id: "run-pages" }),
  );
}

function whatIsLeftOut() {
  const kept = Object.keys(page.details.runs).length;
  const parts = [];
  if (page.details.stored && kept < page.details.of) parts.push(`To keep this file small, histories and predictions of ${kept.toLocaleString("en")} of ${plural(page.details.of, "finished run")} are in it, one seed of every cell first; the rest is left out.`);
  if (page.details.unreadable.length) parts.push(`Predictions of ${plural(page.details.unreadable.length, "run")} could not be read or are not those the result was computed from (${list(page.details.unreadable)}): harness verify names them.`);
  return parts.join(" ");
}

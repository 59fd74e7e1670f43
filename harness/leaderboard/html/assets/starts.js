// The same strategy from other starting points, below what can be told apart of strategies.

const startGains = el("div", { id: "starts", class: "block", hidden: true });

// Hidden where a track compares none, or its runs do not pair.
function drawStarts() {
  const given = trackNow().statistics?.starts;
  startGains.hidden = !given;
  if (!given) return;
  const label = (row) => trackNow().rows[row].label;
  const rows = unique(given.gains.flatMap(([, gains]) => gains.map(([row]) => row)));
  const text = (gains, row) => {
    const found = gains.find(([at]) => at === row);
    if (!found) return NOTHING;
    const one = judged(found.slice(1));
    return `${points(one.value)} (${intervalText(one)})`;
  };
  const said = isFiltered() || chosen.metric !== 0 ? " Over all blocks and on the board's own metric, whatever is shown." : "";
  startGains.replaceChildren(
    el("h3", {}, `Starting points against ${given.over}`),
    el("p", { class: "intro small" }, `${page.metrics[0].title}: average gain of the same strategy over the start ${given.over}, in the same blocks and ${repeatsNow()}s, in points, positive is better, with its interval of ${levelText()} over ${basisNow()}. No verdicts: those are about strategies.${said}`),
    dataTable({
      caption: `Starting points against ${given.over}`,
      head: ["strategy", ...given.gains.map(([start]) => start)],
      rows: rows.map((row) => [label(row), ...given.gains.map(([, gains]) => text(gains, row))]),
    }),
  );
}

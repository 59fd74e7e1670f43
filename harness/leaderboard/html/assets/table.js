// Tables: real ones, with scopes and captions, in a region that scrolls by keyboard too.

// Its name is not that of a section or figure, for landmarks are told apart by their names.
function scroll(label, table, extra = "") {
  const made = el("div", { class: `scroll ${extra}`, role: "region", "aria-label": `${label} (table)`, tabindex: "0" },
    el("p", { class: "hint" }, "Wider than the page: scroll it sideways."), table);
  fitted.observe(made);
  fitted.observe(table);
  return made;
}

const fitted = new ResizeObserver((entries) => {
  for (const region of new Set(entries.map(({ target }) => target.closest(".scroll")))) {
    region?.classList.toggle("beyond", region.scrollWidth > region.clientWidth + 1);
  }
});

// A plain table.  head: texts; rows: lists of texts or nodes; words: columns that hold words.
function dataTable({ head, rows, caption, words = [0], tall = true }) {
  const side = (n) => (words.includes(n) ? "words wrap" : null);
  const cell = (value, n) => el(n ? "td" : "th", { scope: n ? null : "row", class: side(n) }, value ?? NOTHING);
  const table = el(
    "table", { class: "sticky" },
    el("caption", { class: "unseen" }, caption),
    el("thead", {}, el("tr", {}, head.map((text, n) => el("th", { scope: "col", class: side(n) }, text)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell)))),
  );
  return scroll(caption, table, tall && rows.length > 14 ? "tall" : "");
}

// A table whose columns sort.  columns: {id, title, words, key(item) -> value or null, down: best
// is highest}.  draw(items) fills the body; items without a value stay last.
class SortTable {
  constructor({ columns, items, draw, caption, label, sortedBy, down = false }) {
    Object.assign(this, { columns, items, draw, sortedBy, down });
    this.caption = el("caption", {}, caption ?? "");
    this.body = el("tbody");
    this.head = el("tr");
    this.table = el("table", { class: "sticky" }, this.caption, el("thead", {}, this.head), this.body);
    this.element = scroll(label, this.table);
  }

  sort(id) {
    const column = this.columns.find((one) => one.id === id);
    this.down = this.sortedBy === id ? !this.down : Boolean(column.down);
    this.sortedBy = id;
    this.update();
    announce(`Sorted by ${column.title.replace("\n", " ")}, ${this.down ? "descending" : "ascending"}.`);
    this.head.querySelector(`[data-column="${CSS.escape(id)}"] button`)?.focus();
  }

  sorted() {
    const column = this.columns.find((one) => one.id === this.sortedBy) ?? this.columns[0];
    const keyed = this.items().map((item, place) => ({ item, place, key: column.key(item) ?? null }));
    keyed.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
      const order = isNumber(a.key) ? a.key - b.key : String(a.key).localeCompare(String(b.key));
      return (this.down ? -order : order) || a.place - b.place;
    });
    return keyed.map(({ item }) => item);
  }

  update() {
    this.head.replaceChildren(
      ...this.columns.map(({ id, title, words, spare, hint }) => {
        const state = id === this.sortedBy ? (this.down ? "descending" : "ascending") : "none";
        const button = el("button", { type: "button", class: "sort", title: hint, onclick: () => this.sort(id) }, title);
        return el("th", { scope: "col", "aria-sort": state, "data-column": id, class: `${words ? "words " : ""}${spare ? "spare" : ""}` }, button);
      }),
    );
    this.body.replaceChildren(...this.draw(this.sorted()));
  }
}

const facts = (pairs) =>
  el("dl", { class: "facts" }, pairs.map(([name, value, note]) => el("div", {}, el("dt", {}, name), el("dd", {}, value, note ? el("small", {}, note) : null))));

const definitions = (pairs) => el("dl", { class: "list" }, pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

function select(label, id, options, value, onchange) {
  const made = el("select", { id, onchange: () => onchange(made.value) },
    options.map(([key, text]) => el("option", { value: key, selected: String(key) === String(value) }, text)));
  return el("label", { class: "field", for: id }, el("span", {}, label), made);
}

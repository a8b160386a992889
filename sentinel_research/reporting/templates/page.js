
"use strict";
(() => {
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const bubble = make("div", { className: "bubble", hidden: true });
  const ring = make("div", { className: "ring", hidden: true });
  const said = make("div", { className: "unseen" });
  said.setAttribute("role", "status");
  document.body.append(ring, bubble, said);

  // contents: a link to every section
  const contents = document.querySelector("nav.contents");
  const headings = [...document.querySelectorAll("main h2")];
  headings.forEach((heading, index) => {
    heading.id ||= `section-${index}`;
  });
  if (headings.length > 2) {
    const list = make("ul", {});
    for (const heading of headings) {
      const link = make("a", { href: `#${heading.id}`, textContent: heading.textContent });
      list.append(make("li", {}, link));
    }
    contents.append(list);
    document.body.classList.add("has-contents");
  }

  // figures: marks say their values to a pointer and to the arrow keys
  const centre = (mark) => {
    const box = mark.getBoundingClientRect();
    return box.width || box.height ? [box.x + box.width / 2, box.y + box.height / 2] : null;
  };
  const REACH = 28;
  class Plot {
    constructor(element) {
      this.element = element;
      this.svg = element.querySelector("svg");
      this.marks = [...element.querySelectorAll(".mark")];
      this.words = new Map();
      for (const mark of this.marks) {
        const title = mark.querySelector("title");
        this.words.set(mark, title.textContent);
        title.remove();
      }
      this.current = null;
      if (this.marks.length) this.listen();
    }
    listen() {
      const title = this.svg.querySelector("title");
      this.element.tabIndex = 0;
      this.element.setAttribute("role", "application");
      this.element.setAttribute("aria-roledescription", "figure with values");
      this.element.setAttribute("aria-label", `${title.textContent}. Arrow keys go from value to value.`);
      // a bubble says what is under the pointer: the figure's own name would cover it
      this.svg.setAttribute("aria-label", title.textContent);
      this.svg.removeAttribute("aria-labelledby");
      title.remove();
      this.element.addEventListener("pointermove", (event) => this.point(event));
      this.element.addEventListener("pointerdown", (event) => this.point(event));
      this.element.addEventListener("pointerleave", () => this.show(null));
      this.element.addEventListener("keydown", (event) => this.press(event));
      this.element.addEventListener("focus", () => {
        if (this.element.matches(":focus-visible")) this.show(this.current || this.seen()[0], true);
      });
      this.element.addEventListener("blur", () => this.show(null));
    }
    seen() {
      return this.marks.filter((mark) => centre(mark));
    }
    point(event) {
      let found = event.target.closest(".mark");
      let least = REACH;
      if (!found) {
        for (const mark of this.marks) {
          const at = centre(mark);
          const distance = at ? Math.hypot(at[0] - event.clientX, at[1] - event.clientY) : Infinity;
          if (distance < least) [found, least] = [mark, distance];
        }
      }
      if (found !== this.current || bubble.hidden) this.show(found);
    }
    press(event) {
      const seen = this.seen();
      const ends = { Home: seen[0], End: seen[seen.length - 1] };
      const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (event.key === "Escape") this.show(null);
      else if (event.key in ends) this.show(ends[event.key], true);
      else if (event.key in ways) this.show(this.beside(seen, ways[event.key]), true);
      else return;
      event.preventDefault();
    }
    beside(seen, [dx, dy]) {
      const from = this.current && centre(this.current);
      if (!from) return seen[0];
      let [found, least] = [this.current, Infinity];
      for (const mark of seen) {
        const at = centre(mark);
        const [x, y] = [at[0] - from[0], at[1] - from[1]];
        const along = x * dx + y * dy;
        const across = Math.abs(x * dy) + Math.abs(y * dx);
        if (mark !== this.current && along > 0.5 && along + 3 * across < least) {
          [found, least] = [mark, along + 3 * across];
        }
      }
      return found;
    }
    show(mark, isSaid = false) {
      bubble.hidden = ring.hidden = !mark;
      if (mark) {
        this.current = mark;
        if (isSaid) mark.scrollIntoView({ block: "nearest", inline: "nearest" });
        bubble.textContent = this.words.get(mark);
        if (isSaid) said.textContent = bubble.textContent;
        const box = mark.getBoundingClientRect();
        this.place(box);
        this.encircle(box);
      }
    }
    encircle({ x, y, width, height }) {
      const [left, top] = [x - 2 + window.scrollX, y - 2 + window.scrollY];
      const place = { left, top, width: width + 4, height: height + 4 };
      for (const [side, pixels] of Object.entries(place)) ring.style[side] = `${pixels}px`;
    }
    place(box) {
      const { width, height } = bubble.getBoundingClientRect();
      const most = document.documentElement.clientWidth - width - 8;
      const left = Math.min(Math.max(8, box.x + box.width / 2 - width / 2), most);
      const top = box.y - height - 8 < 4 ? box.bottom + 8 : box.y - height - 8;
      bubble.style.left = `${left + window.scrollX}px`;
      bubble.style.top = `${top + window.scrollY}px`;
    }
  }

  // legends: every arm can be hidden
  const choose = (list, plot) => {
    [...list.children].forEach((item, index) => {
      const button = make("button", { type: "button" }, ...item.childNodes);
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        const isShown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(isShown));
        for (const part of plot.querySelectorAll(`[data-arm="${index}"]`)) {
          part.style.display = isShown ? "" : "none";
        }
      });
      item.replaceChildren(button);
    });
    list.setAttribute("aria-label", "Legend: press a name to hide or show it");
  };
  for (const plot of document.querySelectorAll(".plot")) {
    new Plot(plot);
    const legend = plot.nextElementSibling;
    if (legend?.matches(".arms")) choose(legend, plot);
  }

  // tables: sorted by any column, and as CSV
  const NUMBER = /^[\u2212+-]?[\d,]*\.?\d+(e[+-]?\d+)?/i;
  const exact = (cell) => {
    const full = cell.title.trim();
    if (full !== "" && Number.isFinite(Number(full))) return full;
    return cell.textContent;
  };
  const value = (cell) => {
    const found = exact(cell).match(NUMBER);
    return found ? Number(found[0].replaceAll(",", "").replace("\u2212", "-")) : null;
  };
  const ORDERS = { none: "ascending", ascending: "descending", descending: "none" };
  const compare = (one, other, isNumeric, sign) => {
    if (!isNumeric) return sign * one.textContent.localeCompare(other.textContent, "en", { numeric: true });
    const [first, second] = [value(one), value(other)];
    // what has no number comes last, whichever way
    if (first === null || second === null) return (first === null) - (second === null);
    return sign * (first - second);
  };
  const sortable = (table) => {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", textContent: head.textContent });
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const order = ORDERS[head.getAttribute("aria-sort")];
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", order);
        const rows = [...original];
        if (order !== "none") {
          const isNumeric = original.some((row) => value(row.cells[column]) !== null)
            && head.classList.contains("right");
          const sign = order === "ascending" ? 1 : -1;
          rows.sort((one, other) => compare(one.cells[column], other.cells[column], isNumeric, sign));
        }
        table.classList.toggle("sorted", order !== "none");
        body.replaceChildren(...rows);
      });
    });
  };
  const quoted = (text) => {
    // a spreadsheet would compute what begins like this
    const plain = /^[=+@-]/.test(text) && !Number.isFinite(Number(text)) ? `'${text}` : text;
    return /[",\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  };
  const download = (table, name) => {
    const lines = [...table.rows].map((row) => [...row.cells].map((cell) => quoted(exact(cell))).join(","));
    const address = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
    make("a", { href: address, download: `${name.replace(/[^\w.-]+/g, "_")}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  };
  for (const scroll of document.querySelectorAll(".scroll")) {
    const table = scroll.querySelector("table");
    const name = scroll.getAttribute("aria-label");
    if (table.tBodies[0].rows.length > 1) sortable(table);
    const button = make("button", { type: "button", className: "csv", textContent: "CSV" });
    button.setAttribute("aria-label", `Save as CSV: ${name}`);
    button.addEventListener("click", () => download(table, name));
    scroll.after(button);
  }
})();

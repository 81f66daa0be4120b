"use strict";
// The traversals: which tile of which sheet is shown. The curves: the value under the pointer.
// Everything else of the page works without this.

(() => {
  const root = document.getElementById("explorer");
  if (!root) return;
  const data = JSON.parse(document.getElementById("traversal-data").textContent);
  const now = root.querySelector(".now");
  const what = document.getElementById("said-what");
  const where = document.getElementById("said-where");
  const rows = [...root.querySelectorAll(".track")];
  const fields = [...root.querySelectorAll(".field")];
  const starts = [...root.querySelectorAll(".start")];
  const choices = [...root.querySelectorAll(".choice")];
  let start = 0;

  const signed = (v) => (v < 0 ? "\u2212" : "+") + Math.abs(v).toFixed(2);
  const press = (buttons, one) =>
    buttons.forEach((b) => b.setAttribute("aria-pressed", String(b === one)));

  // A window on a sheet of columns x rows tiles.
  const place = (element, column, row, columns, count) => {
    element.style.setProperty("--x", column);
    element.style.setProperty("--y", row);
    element.style.setProperty("--c", columns);
    element.style.setProperty("--r", count);
  };
  const show = (tile, title, words) => {
    now.className = "t now of-start";
    place(now, tile % data.columns, Math.floor(tile / data.columns), data.columns, data.rows);
    now.setAttribute("aria-label", title + " " + words);
    what.textContent = title;
    where.textContent = words;
  };

  const tell = (input, output, at, value) => {
    input.value = at;
    input.setAttribute("aria-valuetext", signed(value));
    output.textContent = signed(value);
  };
  const restRow = (row, i) => {
    const own = data.starts[start], at = own.nearest[i];
    tell(row.querySelector("input"), row.querySelector("output"), at, own.values[i]);
    row.querySelector(".mark").style.setProperty("--at", at);
  };
  const restField = (field, i) => {
    data.starts[start].planes[i].forEach(([at, value], k) => {
      const [input, output] = [field.querySelectorAll("input")[k], field.querySelectorAll("output")[k]];
      tell(input, output, at, value);
      field.querySelector(".mark").style.setProperty(k ? "--down" : "--across", at);
    });
  };
  // One code moves at a time: the others stand where the start has them.
  const rest = (except) => {
    rows.forEach((row, i) => row !== except && restRow(row, i));
    fields.forEach((field, i) => field !== except && restField(field, i));
    choices.forEach((b) => b !== except && b.setAttribute("aria-pressed", "false"));
  };

  const home = () => {
    rest(null);
    show(data.own, "Start", data.starts[start].name);
  };
  const choose = (i) => {
    root.classList.replace("start" + start, "start" + i);
    start = i;
    press(starts, starts.find((b) => Number(b.dataset.start) === i));
    const origin = document.getElementById("origin");
    if (origin) {
      origin.hidden = !data.starts[i].real;
      const real = origin.querySelector(".real");
      real.style.setProperty("--x", i % data.thumbs);
      real.style.setProperty("--y", Math.floor(i / data.thumbs));
    }
    home();
  };

  starts.forEach((b) => b.addEventListener("click", () => choose(Number(b.dataset.start))));
  document.getElementById("back").addEventListener("click", home);
  choices.forEach((b) =>
    b.addEventListener("click", () => {
      rest(b);
      b.setAttribute("aria-pressed", "true");
      show(Number(b.dataset.tile), (b.dataset.what + " " + b.dataset.where).trim(),
        "from " + data.starts[start].name);
    }));

  rows.forEach((row, i) => {
    const [input, output] = [row.querySelector("input"), row.querySelector("output")];
    const strip = row.querySelector(".strip");
    const { name, values } = data.sliders[i];
    const move = () => {
      const at = Number(input.value);
      rest(row);
      tell(input, output, at, values[at]);
      row.querySelector(".mark").style.setProperty("--at", at);
      show(i * values.length + at, name + " = " + signed(values[at]), "from " + data.starts[start].name);
    };
    input.addEventListener("input", move);
    strip.addEventListener("click", (event) => {
      const box = strip.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      input.value = Math.min(values.length - 1, Math.max(0, Math.floor(share * values.length)));
      move();
    });
  });

  fields.forEach((field, i) => {
    const plane = field.querySelector(".plane");
    const inputs = [...field.querySelectorAll("input")];
    const outputs = [...field.querySelectorAll("output")];
    const { names, values } = data.planes[i];
    const move = () => {
      const at = inputs.map((input) => Number(input.value));
      rest(field);
      at.forEach((k, axis) => {
        tell(inputs[axis], outputs[axis], k, values[k]);
        field.querySelector(".mark").style.setProperty(axis ? "--down" : "--across", k);
      });
      const words = names.map((name, axis) => name + " = " + signed(values[at[axis]]));
      show(0, words.reverse().join(", "), "from " + data.starts[start].name);
      now.className = "t now plane" + i;
      place(now, at[0], at[1], values.length, values.length);
    };
    inputs.forEach((input) => input.addEventListener("input", move));
    plane.addEventListener("click", (event) => {
      const box = plane.getBoundingClientRect();
      const cell = (part) => Math.min(values.length - 1, Math.max(0, Math.floor(part * values.length)));
      inputs[0].value = cell((event.clientX - box.left) / box.width);
      inputs[1].value = cell((event.clientY - box.top) / box.height);
      move();
    });
  });
  choose(0);
})();

document.querySelectorAll(".chart").forEach((chart) => {
  const svg = chart.querySelector("svg");
  const output = chart.querySelector("output");
  const hover = svg.querySelector(".hover");
  const curves = [...svg.querySelectorAll(".curve")].map((path) => {
    const [x, y] = [path.dataset.x, path.dataset.y].map((text) => text.split(" ").map(Number));
    const points = path.getAttribute("d").slice(1).split("L").map((p) => p.split(" ").map(Number));
    return { name: path.dataset.name, color: getComputedStyle(path).color, x, y, points };
  });
  if (!curves.length) return;
  const ns = "http://www.w3.org/2000/svg";
  const longest = curves.reduce((a, b) => (a.x.length < b.x.length ? b : a));
  let at = longest.x.length - 1;

  const nearest = (curve, px) => {
    let best = 0;
    curve.points.forEach((p, i) => {
      if (Math.abs(p[0] - px) < Math.abs(curve.points[best][0] - px)) best = i;
    });
    return best;
  };
  const short = (v) => String(Number(v.toPrecision(4))).replace("-", "\u2212");
  const clear = () => {
    hover.replaceChildren();
    output.textContent = output.dataset.last;
  };
  const show = (px, py) => {
    const line = document.createElementNS(ns, "path");
    line.setAttribute("d", `M${px} 8V146`);
    const dots = curves.map((curve) => ({ curve, i: nearest(curve, px) }));
    const closest = dots.reduce((a, b) =>
      Math.abs(a.curve.points[a.i][1] - py) <= Math.abs(b.curve.points[b.i][1] - py) ? a : b);
    hover.replaceChildren(line, ...dots.map(({ curve, i }) => {
      const dot = document.createElementNS(ns, "circle");
      const [cx, cy] = curve.points[i];
      for (const [name, value] of Object.entries({ cx, cy, r: curve === closest.curve ? 3.4 : 2.2 })) {
        dot.setAttribute(name, value);
      }
      dot.style.color = curve.color;
      return dot;
    }));
    const { curve, i } = closest;
    const name = curve.name ? curve.name + ": " : "";
    output.textContent = `${name}${short(curve.y[i])} at step ${curve.x[i].toLocaleString("en")}`;
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const px = (event.clientX - box.left) * scale;
    at = nearest(longest, px);
    show(longest.points[at][0], (event.clientY - box.top) * scale);
  });
  svg.addEventListener("pointerleave", clear);
  svg.addEventListener("blur", clear);
  const here = () => show(...longest.points[at]);
  svg.addEventListener("focus", () => svg.matches(":focus-visible") && here());
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10 }[event.key];
    const end = { Home: 0, End: longest.x.length - 1 }[event.key];
    if (move === undefined && end === undefined) return;
    event.preventDefault();
    at = end ?? Math.min(longest.x.length - 1, Math.max(0, at + move));
    here();
  });
});

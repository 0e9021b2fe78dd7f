"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const press = (buttons, chosen) => buttons.forEach((b) => b.setAttribute("aria-pressed", String(b === chosen)));

  // ---- theme: automatic, light, dark; remembered where the browser allows it
  const themes = ["auto", "light", "dark"];
  const toggle = document.getElementById("theme");
  const recall = () => { try { return localStorage.getItem("sharpline-theme"); } catch { return null; } };
  const dress = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const name = theme === "auto" ? "automatic" : theme;
    toggle.textContent = theme[0].toUpperCase() + theme.slice(1);
    toggle.setAttribute("aria-label", `Colour theme: ${name}`);
    toggle.dataset.value = theme;
  };
  dress(themes.includes(recall()) ? recall() : "auto");
  toggle.addEventListener("click", () => {
    const next = themes[(themes.indexOf(toggle.dataset.value) + 1) % themes.length];
    try { localStorage.setItem("sharpline-theme", next); } catch { /* private browsing keeps nothing */ }
    dress(next);
  });

  // ---- copy a command
  all(".copy").forEach((button) => button.addEventListener("click", () => {
    const code = button.previousElementSibling;
    const select = () => getSelection().selectAllChildren(code);
    const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1400); };
    if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(done, select);
    else select();
  }));

  // ---- sortable tables
  all("table.sortable").forEach((table) => {
    const heads = all("thead th", table);
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") !== "descending" && column > 0
        || column === 0 && head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rank = (row) => {
        const cell = row.cells[column];
        if (column === 0) return cell.textContent.trim();
        return cell.dataset.v === "" ? null : Number(cell.dataset.v);
      };
      const body = table.tBodies[0];
      [...body.rows].sort((p, q) => {
        const a = rank(p), b = rank(q);
        if (a === null || b === null) return (a === null) - (b === null);
        const order = column === 0 ? a.localeCompare(b) : a - b;
        return descending ? -order : order;
      }).forEach((row) => body.append(row));
    }));
  });

  // ---- charts: one scale for all charts of a stage, a readout for each
  all("[data-scale][aria-pressed]").forEach((button) => button.addEventListener("click", () => {
    const group = button.closest(".group");
    group.querySelector(".charts").dataset.scale = button.dataset.scale;
    press(all("[data-scale][aria-pressed]", group), button);
  }));
  const say = (v) => v !== 0 && Math.abs(v) < 1e-3 ? v.toExponential(2) : String(Number(v.toPrecision(5)));
  all(".chart svg").forEach((svg) => {
    const data = JSON.parse(svg.dataset.points), box = svg.viewBox.baseVal;
    const out = svg.closest(".chart").querySelector("output"), rest = out.textContent;
    const cursor = svg.querySelector(".cursor"), [line, dot] = cursor.children;
    const [west, east, north, south] = data.f;
    const across = (step) => west + (step - data.x[0]) / (data.x[1] - data.x[0]) * (box.width - west - east);
    let at = data.p.length - 1;
    const show = (index) => {
      at = clamp(index, 0, data.p.length - 1);
      const [step, value, smooth] = data.p[at];
      const log = data.l && svg.closest(".charts").dataset.scale === "log";
      const [low, high] = log ? data.l : data.y, shown = log ? Math.log10(value) : value;
      const x = across(step), room = box.height - north - south;
      line.setAttribute("x1", x); line.setAttribute("x2", x);
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", Math.max(north - 4, box.height - south - (shown - low) / (high - low) * room));
      cursor.classList.add("on");
      out.textContent = `step ${step.toLocaleString("en")} · ${say(value)} (smoothed ${say(smooth)})`;
    };
    const hide = () => { cursor.classList.remove("on"); out.textContent = rest; };
    svg.addEventListener("pointermove", (event) => {
      const frame = svg.getBoundingClientRect();
      const x = (event.clientX - frame.left) / frame.width * box.width;
      let best = 0;
      data.p.forEach(([step], i) => { if (Math.abs(across(step) - x) < Math.abs(across(data.p[best][0]) - x)) best = i; });
      show(best);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: data.p.length - 1 }[event.key];
      if (move === undefined) return;
      event.preventDefault();
      show(move);
    });
  });

  // ---- picture comparisons: one zoom and one position for all views of an image
  all(".cmp").forEach((figure) => {
    const tiles = all(".tile", figure), views = all(".view", figure), cut = figure.querySelector(".cut");
    const field = figure.querySelector(".tiles"), left = figure.querySelector("select.a"), right = figure.querySelector("select.b");
    const state = { z: 1, x: 0, y: 0 };
    const sharpen = () => {
      const scale = devicePixelRatio * state.z;
      figure.classList.toggle("crisp", state.z > 1 && views.some((v) => v.clientWidth * scale > 1.5 * Number(v.firstElementChild.dataset.w || 1)));
    };
    const apply = () => {
      state.z = clamp(state.z, 1, 32);
      state.x = clamp(state.x, 100 - 100 * state.z, 0);
      state.y = clamp(state.y, 100 - 100 * state.z, 0);
      for (const name of ["z", "x", "y"]) field.style.setProperty(`--${name}`, state[name].toFixed(4));
      figure.classList.toggle("zoomed", state.z > 1);
      figure.querySelector("[data-zoom=reset]").textContent = `${Number(state.z.toFixed(1))}×`;
      sharpen();
    };
    const zoom = (factor, px = 50, py = 50) => {
      const z = clamp(state.z * factor, 1, 32), ratio = z / state.z;
      state.x = px - (px - state.x) * ratio;
      state.y = py - (py - state.y) * ratio;
      state.z = z;
      apply();
    };
    const reset = () => { Object.assign(state, { z: 1, x: 0, y: 0 }); apply(); };
    const split = (percent) => {
      cut.value = clamp(percent, 0, 100);
      field.style.setProperty("--cut", `${cut.value}%`);
    };
    const choose = () => tiles.forEach((tile, i) => {
      tile.classList.toggle("a", i === Number(left.value));
      tile.classList.toggle("b", i === Number(right.value) && left.value !== right.value);
    });
    const measure = () => {
      const shown = figure.querySelector(".tile.a .view");
      if (shown) field.style.setProperty("--h", `${shown.clientHeight}px`);
      cut.style.setProperty("--ratio", getComputedStyle(field).getPropertyValue("--ratio"));
    };
    left.value = figure.dataset.a; right.value = figure.dataset.b;
    [left, right].forEach((select) => select.addEventListener("change", () => { choose(); measure(); }));
    cut.addEventListener("input", () => split(cut.value));
    all("[data-mode][aria-pressed]", figure).forEach((button) => button.addEventListener("click", () => {
      figure.dataset.mode = button.dataset.mode;
      press(all("[data-mode][aria-pressed]", figure), button);
      measure(); sharpen();
    }));
    all("[data-zoom]", figure).forEach((button) => button.addEventListener("click", () => {
      if (button.dataset.zoom === "reset") reset();
      else zoom(button.dataset.zoom === "in" ? 1.6 : 1 / 1.6);
    }));
    views.forEach((view) => {
      const place = (event) => {
        const frame = view.getBoundingClientRect();
        return [(event.clientX - frame.left) / frame.width * 100, (event.clientY - frame.top) / frame.height * 100];
      };
      view.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        zoom(Math.exp(-event.deltaY * 0.004), ...place(event));
      }, { passive: false });
      view.addEventListener("dblclick", (event) => zoom(2, ...place(event)));
      let held = null;
      view.addEventListener("pointerdown", (event) => {
        const [px, py] = place(event), slider = figure.dataset.mode === "slider";
        const divides = slider && (state.z === 1 || Math.abs(px - Number(cut.value)) < 4);
        if (!divides && state.z === 1) return;
        held = { px, py, x: state.x, y: state.y, divides };
        view.setPointerCapture(event.pointerId);
        if (divides) split(px);
      });
      view.addEventListener("pointermove", (event) => {
        if (!held) return;
        const [px, py] = place(event);
        if (held.divides) { split(px); return; }
        state.x = held.x + px - held.px;
        state.y = held.y + py - held.py;
        apply();
      });
      const drop = () => { held = null; };
      view.addEventListener("pointerup", drop);
      view.addEventListener("pointercancel", drop);
      view.addEventListener("keydown", (event) => {
        const moves = { ArrowLeft: [12, 0], ArrowRight: [-12, 0], ArrowUp: [0, 12], ArrowDown: [0, -12] };
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key === "+" || event.key === "=") zoom(1.6);
        else if (event.key === "-") zoom(1 / 1.6);
        else if (event.key === "0") reset();
        else if (moves[event.key] && state.z > 1) {
          state.x += moves[event.key][0];
          state.y += moves[event.key][1];
          apply();
        } else if (figure.dataset.mode === "slider" && moves[event.key] && moves[event.key][0]) {
          split(Number(cut.value) - moves[event.key][0] / 6);
        } else return;
        event.preventDefault();
      });
    });
    addEventListener("resize", measure);
    choose(); split(50); apply();
  });
})();

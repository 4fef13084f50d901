// Further components, made of CircuitsVis' own, and what draws every box of a page or notebook. Loaded after its bundle.
{
  const like = CircuitsVis.Hello({ name: "" }); // an element of the bundle's own React, whichever version that is
  const element = (type, props, ...children) => ({ ...like, type, props: { ...props, children }, key: props.key ?? null });
  const keyed = (items, make) => items.map((item, key) => make(item, key));
  const known = (value) => value !== null && value !== undefined;
  const written = (value, unit) => (known(value) ? value.toFixed(3) + (unit ? " " + unit : "") : "no value");

  // A value that colours as a number does, and on hover says more than its digits.
  const hoverable = (value, ...children) => ({ ...element("div", {}, ...children), valueOf: () => value ?? 0 });
  const choices = (pairs) =>
    pairs && pairs.length
      ? element("table", { key: "choices", className: "circuit-choices" }, element("tbody", { key: "body" },
          ...keyed(pairs, ([token, probability], key) => element("tr", { key },
            element("td", { key: "token" }, token),
            element("td", { key: "probability" }, probability.toFixed(3))))))
      : null;
  const said = (value, unit, pairs) =>
    hoverable(value, element("div", { key: "value" }, written(value, unit)), choices(pairs));

  // Tokens coloured by one value each; on hover the value, and the most likely tokens in that place.
  CircuitsVis.TokensWithAlternatives = ({ tokens, values, unit, alternatives, ...colours }) =>
    element(CircuitsVis.ColoredTokens, {
      tokens, values: values.map((value, i) => said(value, unit, alternatives && alternatives[i])), ...colours,
    });

  // Depths by positions: the most likely token of each reading, coloured by its probability.
  CircuitsVis.LensTable = ({ columns, depths, cells, positiveColor, perTable = 12 }) => {
    const starts = columns.map((_, i) => i).filter((i) => i % perTable === 0);
    const cell = (pairs, key) => element("td", { key }, pairs.length ? element(CircuitsVis.ColoredTokens, {
      key: "cell", tokens: [pairs[0][0]], values: [said(pairs[0][1], "", pairs)], minValue: 0, maxValue: 1, positiveColor,
    }) : null);
    const row = (depth, key, start) => element("tr", { key },
      element("th", { key: "depth" }, depth),
      ...keyed(cells[key].slice(start, start + perTable), cell));
    return element("div", { className: "circuit-lens" }, ...keyed(starts, (start, key) => element("table", { key },
      element("thead", { key: "head" }, element("tr", { key: "head" }, element("th", { key: "corner" }),
        ...keyed(columns.slice(start, start + perTable), ([position, token], at) => element("th", { key: at },
          element("small", { key: "position" }, position), element("div", { key: "token" }, token))))),
      element("tbody", { key: "body" }, ...depths.map((depth, at) => row(depth, at, start))))));
  };

  // Each head's pattern in two stages and their difference; the head that differs most is open.
  CircuitsVis.AttentionSideBySide = ({ tokens, heads, panels, open }) =>
    element("div", { className: "circuit-heads" }, ...keyed(heads, ({ name, note, patterns }, key) =>
      element("details", { key, open: key === open },
        element("summary", { key: "name" }, element("b", { key: "b" }, name), " ", note),
        element("div", { key: "panels", className: "circuit-panels" }, ...keyed(panels, ({ title, ...scale }, at) =>
          element("figure", { key: at }, element("figcaption", { key: "title" }, title),
            element(CircuitsVis.AttentionPattern, {
              key: "pattern", tokens, attention: patterns[at], maskUpperTri: true, zoomed: true, ...scale,
            })))))));

  const style = document.createElement("style");
  style.textContent = `
    .mcinterp-circuit { background: #fff; color: #1c1c1e; padding: .5rem; position: relative; line-height: 1.35; }
    .mcinterp-circuit:hover { z-index: 2; }
    .mcinterp-circuit [data-popper-interactive] { pointer-events: none; z-index: 3 !important; }
    .mcinterp-circuit h2, .mcinterp-circuit h3, .mcinterp-circuit h4 { font-size: .85rem; line-height: 1.2; }
    .circuit-lens > table { border-collapse: separate; border-spacing: 2px; margin: 0 0 1rem; font-size: .8rem; }
    .circuit-lens th { font-weight: 500; text-align: center; vertical-align: bottom; max-width: 5.2rem; padding: 0 .15rem; }
    .circuit-lens th div { overflow: hidden; text-overflow: ellipsis; white-space: pre; }
    .circuit-lens th small { color: #6a6a6e; }
    .circuit-lens tbody th { text-align: right; vertical-align: middle; }
    .circuit-lens > table > tbody > tr > td { padding: 0; text-align: center; min-width: 3.4rem; max-width: 5.2rem; }
    .circuit-lens .colored-tokens > span > span { display: block !important; margin: 0 !important; overflow: hidden;
      text-overflow: ellipsis; }
    .circuit-lens .colored-tokens > span > br { display: none; }
    .circuit-choices { margin: .4rem auto 0; border-spacing: .5rem 0; color: inherit; }
    .circuit-choices td { padding: 0; text-align: right; white-space: pre; background: none; }
    .circuit-choices td:first-child { text-align: left; }
    .circuit-panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem; }
    .circuit-panels figure { margin: 0; min-width: 0; padding: 0 1rem; }
    .circuit-panels figcaption { font-size: .85rem; text-align: center; }
    .circuit-heads summary { cursor: pointer; padding: .2rem 0; }`;
  document.head.append(style);

  // Draws every box that waits for it, those of earlier cells too.
  window.mcinterpDraw = () => {
    for (const box of document.querySelectorAll(".mcinterp-circuit:not([data-drawn])")) {
      const { component, props } = JSON.parse(box.querySelector("script").textContent);
      const inside = document.createElement("div");
      window.mcinterpDrawn = (window.mcinterpDrawn || 0) + 1;
      inside.id = "mcinterp-circuit-" + window.mcinterpDrawn;
      box.replaceChildren(inside);
      box.dataset.drawn = component;
      CircuitsVis.render(inside.id, CircuitsVis[component], props);
    }
  };
  window.mcinterpDraw();
}

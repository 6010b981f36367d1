"""How the gallery looks, beyond what all pages share (`vtrcli.page`)."""

from __future__ import annotations

STYLE = """
main { max-width: 84rem; }
h1 { overflow-wrap: anywhere; }
h2 { border-top: 0; padding-top: 0; margin-top: 2.75rem; }
a { color: inherit; text-decoration: none; }
a:hover .name, .more a:hover, .queries a:hover { text-decoration: underline; color: var(--accent); }
a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: .5rem; }
.queries { columns: 20rem; margin: 1rem 0 0; padding: 0; list-style: none; }
.queries a { color: var(--accent); }
.queries li { padding: .1rem 0; break-inside: avoid; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); gap: 1.75rem 1.25rem;
  margin: 1.25rem 0 0; padding: 0; list-style: none; }
.cards > li { min-width: 0; }
.play { display: block; }
.frame { display: block; position: relative; aspect-ratio: var(--shape); border-radius: .6rem; overflow: hidden;
  background: var(--panel); box-shadow: 0 0 0 1px var(--line); transition: box-shadow .12s; }
.frame.drawn { background: #0b0d10; }
.play:hover .frame { box-shadow: 0 0 0 2px var(--accent), 0 .4rem 1.1rem rgb(0 0 0 / .22); }
.frame img { display: block; width: 100%; height: 100%; object-fit: contain; }
.frame img.fill { object-fit: cover; }
.none { position: absolute; inset: 0; display: grid; place-items: center; color: var(--quiet); font-size: .875rem; }
.pill { position: absolute; padding: 0 .45rem; border-radius: .35rem; background: rgb(0 0 0 / .74); color: #fff;
  font-size: .8125rem; font-weight: 600; line-height: 1.4rem; font-variant-numeric: tabular-nums; }
.rank { left: .45rem; top: .45rem; }
.time { right: .45rem; bottom: .45rem; }
.gone { right: .45rem; top: .45rem; background: #b3261e; }
.name { display: block; margin: .55rem 0 0; font-weight: 600; line-height: 1.35; }
.figures { margin: .1rem 0 0; font-size: .875rem; font-variant-numeric: tabular-nums; }
.figures span { margin-right: .8rem; white-space: nowrap; }
.figures b { font-weight: 600; }
.more, .path { margin: .1rem 0 0; font-size: .8125rem; color: var(--quiet); line-height: 1.4; }
.more a { font-variant-numeric: tabular-nums; white-space: nowrap; color: var(--accent); }
.missing .frame img { filter: grayscale(1); opacity: .55; }
.missing .name { color: var(--quiet); }
@media (max-width: 32rem) { main { padding: 1.25rem 1rem 3rem; } h1 { font-size: 1.4rem; } }
@media (prefers-reduced-motion: reduce) { .frame { transition: none; } }
@media print { .cards > li { break-inside: avoid; } }
"""

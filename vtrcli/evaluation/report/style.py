"""How the report looks, beyond what all pages share (`vtrcli.page`). The colours of the charts are here too."""

from __future__ import annotations

STYLE = """
:root {
  --series-0: #8b939e; --series-1: #1f6feb; --series-2: #8250df; --series-3: #1a7f37;
  --series-4: #b87900; --series-5: #cf222e; --series-6: #0b7f8a; --series-7: #bf3989;
}
@media (prefers-color-scheme: dark) {
  :root {
    --series-0: #9aa4b0; --series-1: #6cb0ff; --series-2: #c19bff; --series-3: #56c271;
    --series-4: #e3b341; --series-5: #ff7b72; --series-6: #4cc9d4; --series-7: #f778ba;
  }
}
.read { max-width: 50rem; color: var(--quiet); }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(max(9.5rem, 22%), 1fr)); gap: .75rem 1.5rem;
  margin: 1.25rem 0; }
.facts dt { color: var(--quiet); font-size: .8125rem; }
.facts dd { margin: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem; margin: 1.5rem 0; }
.tile { background: var(--panel); border-radius: .6rem; padding: 1rem 1.25rem; }
.pair { display: flex; flex-wrap: wrap; gap: .25rem 2.25rem; }
.big { font-size: 2rem; font-weight: 600; line-height: 1.2; font-variant-numeric: tabular-nums; display: block; }
.scroll { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9375rem;
  overflow-wrap: normal; }
th, td { padding: .4rem .7rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; font-size: .8125rem; color: var(--quiet); vertical-align: bottom; white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; }
.number { text-align: right; white-space: nowrap; }
small { display: block; color: var(--quiet); font-size: .75rem; line-height: 1.3; white-space: nowrap; }
.name { display: block; min-width: 8rem; overflow-wrap: anywhere; }
.method { white-space: nowrap; }
.worse { color: var(--worse); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: .5rem 2rem; }
.charts h3 { margin-top: .5rem; }
.charts svg { width: 100%; max-width: 36rem; height: auto; display: block; stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: .15rem 1.25rem; font-size: .875rem; margin: .25rem 0 .5rem; padding: 0;
  list-style: none; }
.swatch { display: inline-block; width: 1.4rem; height: 0; border-top: .2rem solid; vertical-align: .2rem;
  margin-right: .45rem; }
.swatch.dashed { border-top-style: dashed; }
.bar { display: block; width: 5rem; height: .3rem; margin: .2rem 0 0 auto; background: var(--line); }
.bar span { display: block; height: 100%; }
.thumb { display: block; width: 100%; max-width: 7.5rem; height: auto; border-radius: .3rem; background: var(--panel); }
.hub { display: flex; gap: .75rem; align-items: center; }
.hub .thumb { width: 4rem; }
tr:has(.hub) td { vertical-align: middle; }
.query { border-bottom: 1px solid var(--line); padding: 1rem 0; }
.query > p { margin: 0 0 .5rem; }
.query:last-child { border-bottom: 0; }
.query small { font-size: .875rem; white-space: normal; }
.query q { font-size: 1.0625rem; font-weight: 600; }
.videos { display: grid; grid-template-columns: repeat(4, 1fr); gap: .75rem 1rem; }
.videos figure { margin: 0; font-size: .8125rem; }
.videos figcaption { margin-top: .2rem; }
.right .thumb { outline: 3px solid var(--series-3); }
.right b { color: var(--series-3); }
@media (min-width: 52rem) { .hub { display: flex; gap: .75rem; align-items: center; }
.hub .thumb { width: 4rem; }
tr:has(.hub) td { vertical-align: middle; }
.query { display: grid; grid-template-columns: 2fr 3fr; gap: 1.5rem; } }
@media print { .scroll { overflow: visible; } h2 { break-after: avoid; }
  .query, .charts > div { break-inside: avoid; } }
"""

"""The style sheet of an evidence page: light and dark, narrow and wide, screen and paper."""

from __future__ import annotations

# Blue and vermilion after Okabe and Ito, darkened or lightened until text in them has a contrast of 4.5.
STYLE = """
:root{--ink:#1c2127;--soft:#59636e;--paper:#fff;--panel:#f5f7f9;--line:#d5dbe1;--risky:#b34a00;--benign:#0069a6;
--warn:#8a5a00;--shade:230,120,0;--band:0,105,166}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e4e8ec;--soft:#9ba7b4;--paper:#10151b;--panel:#181f27;
--line:#323c47;--risky:#ff9550;--benign:#62b6ec;--warn:#e8ab2e;--shade:255,140,50;--band:98,182,236}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue","DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
main{max-width:66rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:2rem;line-height:1.2;margin:0 0 .25rem}
h2{font-size:1.35rem;margin:3rem 0 1rem;padding-bottom:.3rem;border-bottom:2px solid var(--line)}
h3{font-size:1.15rem;margin:2.5rem 0 .25rem}
h4{font-size:1rem;margin:1.75rem 0 .5rem}
figure h4{margin-top:0}
p{margin:.4rem 0 .8rem;max-width:46rem}
a{color:var(--benign)}
code{font:.875em ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.note,figcaption,caption,dt{color:var(--soft);font-size:.875rem}
.absent{color:var(--soft);font-style:italic}
.facts{color:var(--soft);margin:0 0 1.25rem;max-width:none}
.facts b{color:var(--ink);font-weight:600}
.reader,.alarm{border-left:5px solid var(--warn);background:var(--panel);padding:.7rem 1rem;margin:1rem 0;
max-width:none}
.alarm{margin:.5rem 0}
.verdict{border:1px solid var(--line);border-left:6px solid var(--warn);border-radius:6px;background:var(--panel);
padding:1rem 1.25rem;margin:1.25rem 0}
.verdict.accepted{border-left-color:var(--benign)}
.verdict.refused{border-left-color:var(--risky)}
.verdict>p{font-size:1.15rem;margin:0;max-width:none}
.verdict h2{all:unset;display:block;font-weight:700;font-size:1.35rem}
.checks{list-style:none;padding:0;margin:1rem 0 0}
.checks li{display:grid;grid-template-columns:9.5rem 1fr;gap:0 1rem;padding:.45rem 0;border-top:1px solid var(--line)}
.checks small{display:block;color:var(--soft)}
.mark{font-weight:600;white-space:nowrap}
.passed{color:var(--benign)}
.failed{color:var(--risky)}
.open{color:var(--warn)}
.grid>p{align-self:center}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1.75rem 2.5rem;
align-items:start;margin:1.25rem 0}
figure{margin:0;break-inside:avoid}
figcaption{margin-top:.4rem;max-width:34rem}
svg{display:block;width:100%;overflow:visible}
svg.plot{overflow:hidden}
svg.scaled{max-width:27rem;height:auto}
svg text{font-size:12px;fill:var(--soft)}
svg text.halo{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
svg .stem{stroke:var(--risky);stroke-width:1;stroke-opacity:.45}
svg text.strong,svg tspan.strong{fill:var(--ink);font-weight:600}
svg .axis{stroke:var(--line);stroke-width:1}
svg .chance{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 4}
svg .band{fill:rgba(var(--band),.16)}
svg .line{fill:none;stroke:var(--benign);stroke-width:2.25;stroke-linejoin:round}
svg .dot{fill:var(--benign);stroke:var(--paper);stroke-width:1.5}
svg .reach{stroke:var(--benign);stroke-width:4;stroke-linecap:round}
svg .null{fill:var(--paper);stroke:var(--risky);stroke-width:2}
svg .chosen{fill:var(--risky);stroke:var(--paper);stroke-width:1.5}
svg .up{fill:var(--risky)}
svg .down{fill:rgba(var(--band),.3);stroke:var(--benign);stroke-width:1.25}
svg text.risky{fill:var(--risky);font-weight:600}
svg text.benign{fill:var(--benign);font-weight:600}
table{border-collapse:collapse;width:100%;font-size:.9375rem}
caption{text-align:left;padding:0 0 .4rem}
th,td{text-align:right;padding:.35rem 0 .35rem 1rem;border-top:1px solid var(--line);vertical-align:baseline;
overflow-wrap:normal}
table.narrow{max-width:30rem}
td,.whole{white-space:nowrap}
td bdi,td.absent{white-space:normal}
th:first-child,td:first-child{text-align:left;padding-left:0;overflow-wrap:anywhere;min-width:6rem}
thead th{color:var(--soft);font-weight:500;font-size:.8125rem;vertical-align:bottom;border-top:0}
tbody th{font-weight:400}
tr.own th,tr.own td,b{font-weight:600}
svg.bar{display:inline-block;width:4.5rem;height:.7rem;margin-left:.6rem;vertical-align:-.03rem}
svg.bar .track{fill:var(--line)}
svg.bar .fill{fill:var(--benign)}
svg.bar .bad{fill:var(--risky)}
.example{margin:1.25rem 0;padding:.75rem 1rem;background:var(--panel);border:1px solid var(--line);border-radius:6px;
break-inside:avoid}
.example h4{display:flex;flex-wrap:wrap;gap:.1rem 1rem;margin:0 0 .4rem}
.example h4 span{font-weight:400;color:var(--soft)}
.tokens{white-space:pre-wrap;line-height:1.9;max-width:none;margin:0 0 .4rem}
.tokens span{border-bottom:0 solid var(--risky);padding:.1em 0;print-color-adjust:exact;
-webkit-print-color-adjust:exact}
.tokens .s1{background:rgba(var(--shade),.14)}
.tokens .s2{background:rgba(var(--shade),.24);border-bottom-width:1px}
.tokens .s3{background:rgba(var(--shade),.34);border-bottom-width:2px}
.tokens .s4{background:rgba(var(--shade),.44);border-bottom-width:3px}
.tokens .s5{background:rgba(var(--shade),.54);border-bottom-width:4px}
.example .note{margin:0;max-width:none}
dl{display:grid;grid-template-columns:minmax(9rem,max-content) 1fr;gap:.35rem 1.5rem;margin:0}
dd{margin:0}
@media(max-width:40rem){main{padding:1.25rem .9rem 3rem}h1{font-size:1.6rem}h2{margin-top:2.25rem}
.checks li{grid-template-columns:1fr}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.6rem}
table.stack thead{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
table.stack,table.stack tbody,table.stack tr,table.stack th,table.stack td,table.stack caption{display:block}
table.stack tr{border-top:1px solid var(--line);padding:.5rem 0}
table.stack tbody th{font-weight:600;border:0;padding:0}
table.stack td{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.1rem 0}
table.stack td::before{content:attr(data-label);color:var(--soft);text-align:left;
font-style:normal;flex:none;max-width:50%}}
@media print{@page{margin:16mm 14mm}body{font-size:10.5pt}main{max-width:none;padding:0}
.grid{grid-template-columns:1fr 1fr;gap:1rem 1.5rem}.grid table,table.stack{font-size:8.5pt}th,td{padding-left:.6rem}
figcaption,.note,caption{font-size:8.5pt}h2{margin-top:1.75rem}h3{margin-top:1.5rem}
h2,h3,h4,caption{break-after:avoid}
tr,.verdict li,.alarm,table.narrow{break-inside:avoid}a{color:inherit;text-decoration:none}}
""".strip()

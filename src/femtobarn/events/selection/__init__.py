"""Selections: cuts in a physicist's notation, `n_jet >= 6 and HT >= 500 and jet.pt[0] > 100`.

A small language on Python's grammar, of which only what is listed here is understood; nothing is ever run as Python.
Units are GeV and radians.

- Numbers of the event: the observables of `femtobarn.physics.observables` (`n_jet, HT, MET, mT, ...`), further columns
  of the context, `weight`, `number` and `hard`.
- `process`, compared with names: `process == "tttt"`, `process in ("ttW", "ttZ")`.
- Objects, hardest first: `jet` (b-tagged ones included), `bjet`, `ljet` (not b-tagged), `electron`, `muon`, `lepton`,
  `photon`, `object` (all), each with `pt, eta, phi, E, mass, charge`: `jet.pt[0]` or `jet[0].pt` is the hardest one's,
  `jet.pt[-1]` the softest one's. A comparison with an object that is not there is false.
- `count(jet.pt > 50)`, `any(...)`, `all(...)` of a condition on objects, `count(jet)` of all; `sum(jet.pt)`, `min`,
  `max` of a quantity. The sum over no object is 0, `all` is true of none, a comparison with `min` or `max` over none is
  false.
- Objects together: `(jet[0] + jet[1]).mass`, likewise `pt, eta, phi, E`; `mass(jet[0], jet[1], ...)` is the same.
- Two objects: `delta_r(jet[0], lepton[0])`, `delta_eta(...)`, `delta_phi(...)`, the latter two of the first minus the
  second, angles in [-π, π), and the transverse mass `mT(lepton[0], MET)`. `MET` stands for the missing momentum in
  `delta_phi` and `mT`; `delta_phi` takes two angles too, `delta_phi(jet.phi[0], phi_MET)`.
- One of the objects may be a whole collection: `min(delta_r(jet, lepton[0])) > 0.4`, `any(mass(jet, lepton[0]) < 150)`.
- `and`, `or`, `not`, chained comparisons, `+ - * / % **`, `min(a, b)`, `max(a, b)`, `abs(...)`, `sqrt`, `exp`, `log`
  (natural), `log10`, `sin`, `cos`, `tan`, `sinh`, `cosh`, `tanh`. A comparison with a number that does not exist is
  false: the root or logarithm of a negative number, a quotient or remainder by zero.

Each number is computed when a selection asks for it, from the columns that it needs.
"""

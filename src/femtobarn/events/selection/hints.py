"""Hints for selections: names that people write, and the correct ones."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Iterable, Sequence

#: Other names of observables and columns, in small letters and without underscores.
NAMES = {
    **dict.fromkeys(
        ("etmiss", "etmis", "missinget", "ptmiss", "misspt", "pfmet", "missinget", "metpt", "met_et"), "MET"
    ),
    **dict.fromkeys(("metphi", "etmissphi", "phimiss"), "phi_MET"),
    **dict.fromkeys(("nlepton", "lepn", "nl", "leptonn"), "n_lep"),
    **dict.fromkeys(("nele", "nel", "ne", "electronn", "elen"), "n_electron"),
    **dict.fromkeys(("nmu", "muonn", "mun"), "n_muon"),
    **dict.fromkeys(("nb", "nbtag", "nbtagged", "bjetn", "nbtaggedjet"), "n_bjet"),
    **dict.fromkeys(("nj", "jetn", "jetmultiplicity"), "n_jet"),
    **dict.fromkeys(("ngamma", "nph", "ny", "photonn"), "n_photon"),
    **dict.fromkeys(("sumpt", "scalarht", "hthadlep"), "HT"),
    **dict.fromkeys(("mtw", "mtransverse", "transversemass"), "mT"),
    **dict.fromkeys(("mll", "mee", "mmumu", "mz", "zmass"), "m_ll_os_sf"),
    **dict.fromkeys(("mbb", "bbmass"), "m_bb"),
    **dict.fromkeys(("drbb", "deltarbb"), "dr_bb_min"),
    **dict.fromkeys(("drll", "deltarll"), "dr_ll_min"),
    **dict.fromkeys(("event", "eventnumber", "evt"), "number"),
    **dict.fromkeys(("sample", "label", "class"), "process"),
    **dict.fromkeys(("w", "weight", "eventweight", "genweight"), "weight"),
    **dict.fromkeys(("totalcharge", "sumcharge", "q"), "charge"),
}

#: Other names of collections of objects.
COLLECTIONS = {
    **dict.fromkeys(("j", "ak4", "ak4jet", "pfjet", "jets"), "jet"),
    **dict.fromkeys(("b", "btag", "btagged", "taggedjet"), "bjet"),
    **dict.fromkeys(("lightjet", "lightflavourjet", "untaggedjet"), "ljet"),
    **dict.fromkeys(("e", "el", "ele", "elec"), "electron"),
    **dict.fromkeys(("mu", "m"), "muon"),
    **dict.fromkeys(("lep", "l"), "lepton"),
    **dict.fromkeys(("gamma", "ph", "y", "gam"), "photon"),
    **dict.fromkeys(("obj", "particle", "part", "all"), "object"),
}

#: Other names of quantities of an object.
QUANTITIES = {"energy": "E", "en": "E", "e": "E", "m": "mass", "m0": "mass", "transversemomentum": "pt", "q": "charge"}

#: Other names of functions.
FUNCTIONS = {
    **dict.fromkeys(("len", "size", "length", "num", "number", "n"), "count"),
    **dict.fromkeys(("fabs", "absolute", "absolutevalue"), "abs"),
    **dict.fromkeys(("ln", "loge"), "log"),
    **dict.fromkeys(("minimum", "least"), "min"),
    **dict.fromkeys(("maximum", "greatest"), "max"),
    **dict.fromkeys(("total", "scalarsum"), "sum"),
    **dict.fromkeys(("dr", "deltar", "rdistance"), "delta_r"),
    **dict.fromkeys(("dphi", "deltaphi", "acoplanarity"), "delta_phi"),
    **dict.fromkeys(("deta", "deltaeta"), "delta_eta"),
    **dict.fromkeys(("m", "minv", "invmass", "invariantmass", "inv_mass", "dijetmass", "massof"), "mass"),
    **dict.fromkeys(("mtw", "transversemass", "mtransverse"), "mT"),
    **dict.fromkeys(("exist", "exists", "some"), "any"),
    **dict.fromkeys(("every", "each"), "all"),
}

#: Functions that are written as operations.
OPERATIONS = {
    **dict.fromkeys(("pow", "power"), "a ** b"),
    **dict.fromkeys(("sq", "square"), "a ** 2"),
    **dict.fromkeys(("mod", "fmod", "remainder"), "a % b"),
    **dict.fromkeys(("mean", "avg", "average"), "sum(jet.pt) / count(jet)"),
    "none": "not any(...)",
    "hypot": "sqrt(a ** 2 + b ** 2)",
}


def near(name: str, names: Iterable[str], others: dict[str, str] | None = None) -> list[str]:
    """The names that may be meant: the same but for case, underscores and the plural; other words; typing errors.

    Args:
        name: as it was written.
        names: that there are.
        others: what is meant by other words, which are in small letters and without underscores.
    """
    candidates = list(dict.fromkeys(names))
    wanted = _plain(name)
    if same := [candidate for candidate in candidates if _plain(candidate) == wanted]:
        return same
    for word in (wanted, name.lower().replace("_", "")):
        if others is not None and others.get(word) in candidates:
            return [others[word]]
    by_plain = {_plain(candidate): candidate for candidate in reversed(candidates)}
    return [by_plain[match] for match in difflib.get_close_matches(wanted, list(by_plain), n=3, cutoff=0.6)]


def meant(name: str, names: Iterable[str], others: dict[str, str] | None = None) -> str:
    """The names that may be meant, or all there are, for an error message."""
    candidates = list(names)
    close = near(name, candidates, others)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(candidates)}"


def quantity_of(name: str, collections: Iterable[str], quantities: Iterable[str]) -> str | None:
    """What is meant by `jet_pt`, `jet1_pt`, `Jet_Pt` or `leading_jet_pt`: `jet.pt`, or `jet.pt[0]` with a number."""
    match = re.fullmatch(r"(?:(leading|lead|subleading)_?)?([A-Za-z]+?)s?_?(\d*)[_.]([A-Za-z]+)", name)
    if match is None:
        return None
    place, word, number, suffix = match.groups()
    collection, quantity = collection_of(word, collections), _only(suffix, quantities, QUANTITIES)
    if collection is None or quantity is None:
        return None
    index = {"leading": 0, "lead": 0, "subleading": 1}.get(place or "") if not number else max(int(number[:3]) - 1, 0)
    return f"{collection}.{quantity}" + ("" if index is None else f"[{index}]")


def collection_of(name: str, collections: Iterable[str]) -> str | None:
    """The collection that is surely meant, as jet by `Jets` or `j`."""
    return _only(name, collections, COLLECTIONS)


def numbered(name: str, collections: Iterable[str]) -> str | None:
    """What is meant by `jet1` or `lep_2`: `jet[0]` and `lepton[1]`."""
    match = re.fullmatch(r"([A-Za-z]+)_?([1-9]\d?)", name)
    collection = collection_of(match[1], collections) if match else None
    return f"{collection}[{int(match[2]) - 1}]" if match and collection else None


def _only(name: str, names: Iterable[str], others: dict[str, str]) -> str | None:
    wanted, candidates = _plain(name), list(names)
    same = [candidate for candidate in candidates if _plain(candidate) == wanted]
    other = others.get(wanted) or others.get(name.lower())
    return same[0] if same else other if other in candidates else None


def _plain(name: str) -> str:
    """Small letters without underscores and the plural's s."""
    plain = name.lower().replace("_", "")
    return plain[:-1] if len(plain) > 2 and plain.endswith("s") and not plain.endswith("ss") else plain


def unknown_name(
    name: str,
    names: Sequence[str],
    collections: Iterable[str],
    quantities: Sequence[str],
    functions: Sequence[str],
    *,
    index: str = "",
) -> str:
    """What is wrong with a name that is none, and what may be meant.

    Args:
        name: as it was written.
        names: numbers and collections that there are.
        collections: names of collections of objects.
        quantities: names of quantities of objects.
        functions: names of functions.
        index: what stands in square brackets behind the name, with them.
    """
    wrong = f"no name {name!r}; "
    if name in functions:
        return f"{name} is a function: {name}(...)"
    if name in quantities:
        objects = ", ".join(f"{collection}.{name}" for collection in ("jet", "lepton", "object"))
        return f"{wrong}{name} of what? There are {objects} and others, as in jet.{name}[0]"
    same = [candidate for candidate in names if _plain(candidate) == _plain(name)]
    collection_names = list(collections)
    if not same:
        likely = (
            quantity_of(name, collection_names, quantities)
            or numbered(name, collection_names)
            or collection_of(name, collection_names)
        )
        if likely is not None:
            return f"{wrong}did you mean {likely if likely.endswith(']') else likely + index}?"
    elif index and same[0] in collection_names:
        return f"{wrong}did you mean {same[0]}{index}?"
    return wrong + meant(name, names, NAMES)


def unknown_collection(name: str, quantity: str, collections: Sequence[str] | dict[str, tuple[int, ...]]) -> str:
    """What is wrong with `jets.pt`, `jet1.pt` or `math.sqrt`, and what may be meant."""
    likely = numbered(name, collections)
    if likely is not None:
        return f"no collection of objects {name!r}; did you mean {likely}.{quantity}?"
    return f"no collection of objects {name!r}; {meant(name, collections, COLLECTIONS)}"


def unknown_quantity(owner: str, quantity: str, quantities: Sequence[str], is_collection: bool) -> str:
    """What is wrong with `jet.PT` or `jet.size`, and what may be meant."""
    if is_collection and _only(quantity, ("count",), FUNCTIONS) == "count":
        return f"the number of objects is count({owner})"
    return f"no quantity of {owner}, {quantity!r}; {meant(quantity, quantities, QUANTITIES)}"


def unknown_function(
    name: str, call: ast.Call, shown: Callable[[ast.AST], str], functions: Sequence[str], quantities: Sequence[str]
) -> str:
    """What is wrong with `len(jet)`, `pt(jet)` or `pow(a, b)`, and what is written instead."""
    argument = shown(call.args[0]) if call.args else "jet"
    quantity = _only(name, quantities, QUANTITIES)
    if quantity is not None and _only(name, functions, FUNCTIONS) is None:
        base = f"({argument})" if call.args and isinstance(call.args[0], ast.BinOp) else argument
        return f"no function {name!r}; a quantity stands behind its object: {base}.{quantity}"
    if written := OPERATIONS.get(_plain(name)) or OPERATIONS.get(name.lower()):
        return f"no function {name!r}; it is written {written}"
    likely = _only(name, functions, FUNCTIONS)
    if likely is not None:
        return f"no function {name!r}; did you mean {likely}? {likely}({', '.join(map(shown, call.args))})"
    return f"no function {name!r}; {meant(name, functions, FUNCTIONS)}"


def method(call: ast.Call, shown: Callable[[ast.AST], str], functions: Sequence[str]) -> str:
    """What is wrong with `jet.pt.max()`, `np.abs(HT)` or `jet.pt(0)`, and what is written instead."""
    only_functions = f"only functions can be called: {', '.join(functions)}"
    if not isinstance(call.func, ast.Attribute):
        return only_functions
    base, name = call.func.value, call.func.attr
    module = isinstance(base, ast.Name) and base.id in ("np", "numpy", "ak", "awkward", "math", "TMath")
    likely = _only(name, functions, FUNCTIONS)
    if module and likely is not None:
        return f"functions stand without a module: {likely}({', '.join(map(shown, call.args))})"
    if likely is not None and not call.args:
        return f"a function stands in front: {likely}({shown(base)})"
    if isinstance(base, ast.Name) and len(call.args) == 1 and not module:
        return f"an index stands in square brackets: {shown(call.func)}[{shown(call.args[0])}]"
    return only_functions

#!/usr/bin/env python3
"""Makes golden_stats.hpp: the statistics of src/ternbench/stats.cpp, computed another way.

    python3 tests/tool/data/golden_stats.py > tests/tool/data/golden_stats.hpp

Nothing is shared with the C++: quantiles are Python's, coverage is exact in fractions, and the Mann-Whitney distribution is
counted by going through every split of the ranks.
"""
import itertools
import math
import random
import statistics
from fractions import Fraction


def sign_test_tail(n, k):
    """P(Binomial(n, 1/2) <= k - 1)"""
    return sum(Fraction(math.comb(n, i), 2**n) for i in range(k))


def mann_whitney_tail(n, m, k):
    """P(U <= k - 1), over every way to give n of the n + m ranks to the first sample"""
    low = total = 0
    for ranks in itertools.combinations(range(n + m), n):
        u = sum(ranks) - n * (n - 1) // 2
        low += u <= k - 1
        total += 1
    return Fraction(low, total)


def widest_k(count, tail):
    """The largest k with 2 * tail(k) <= 5%; 1 when there is none"""
    best = 1
    for k in range(2, count // 2 + 1):
        if 2 * tail(k) <= Fraction(1, 20):
            best = k
    return best


def sign_test(values):
    ordered = sorted(values)
    n = len(ordered)
    if n < 2:
        return statistics.median(ordered), ordered[0], ordered[0], 0.0
    k = widest_k(n, lambda j: sign_test_tail(n, j))
    return statistics.median(ordered), ordered[k - 1], ordered[n - k], float(1 - 2 * sign_test_tail(n, k))


def hodges_lehmann(a, b):
    n, m = len(a), len(b)
    ordered = sorted(math.log(y / x) for x in a for y in b)
    estimate = math.exp(statistics.median(ordered))
    if n * m < 2:
        return estimate, estimate, estimate, 0.0
    tails = {}

    def tail(k):
        if k not in tails:
            tails[k] = mann_whitney_tail(n, m, k)
        return tails[k]

    k = widest_k(n * m, tail)
    return estimate, math.exp(ordered[k - 1]), math.exp(ordered[n * m - k]), float(max(0, 1 - 2 * tail(k)))


def text(values):
    return "{" + ", ".join(repr(float(v)) for v in values) + "}"


def main():
    rng = random.Random(20261121)

    def sample(n):
        return [round(rng.lognormvariate(3, 0.2), 3) for _ in range(n)]

    print("// Made by golden_stats.py beside this file; the command is in its head.")
    print("#pragma once\n\n#include <vector>\n\nnamespace golden {\n")
    print("struct bounds {\n  double estimate, low, high, coverage;\n};")
    print("struct one {\n  std::vector<double> values;\n  double q25, q50, q75;\n  bounds median;\n};")
    print("struct two {\n  std::vector<double> a, b;\n  bounds paired;  // for equal counts\n  bounds unpaired;\n};\n")
    print("inline const std::vector<one> singles{")
    for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30):
        values = sample(n)
        quartiles = statistics.quantiles(values, n=4, method="inclusive") if n > 1 else [values[0]] * 3
        print(f"    {{{text(values)}, {', '.join(repr(float(q)) for q in quartiles)}, {text(sign_test(values))}}},")
    print("};\n")
    print("inline const std::vector<two> pairs{")
    for n, m in ((1, 1), (1, 3), (2, 2), (3, 3), (3, 5), (4, 4), (5, 6), (6, 6), (7, 7), (6, 10), (8, 8)):
        a, b = sample(n), [round(v * 1.07, 3) for v in sample(m)]
        paired = sign_test([y / x for x, y in zip(a, b)]) if n == m else (0, 0, 0, 0)
        print(f"    {{{text(a)}, {text(b)}, {text(paired)}, {text(hodges_lehmann(a, b))}}},")
    print("};\n\n}  // namespace golden")


main()

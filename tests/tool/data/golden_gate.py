#!/usr/bin/env python3
"""Makes golden_gate.hpp: the tests and intervals of the gate, as scipy and statsmodels compute them.

    python3 -m venv golden && golden/bin/pip install scipy==1.17.1 statsmodels==0.15.0
    golden/bin/python tests/tool/data/golden_gate.py > tests/tool/data/golden_gate.hpp
    clang-format-19 --style=file -i tests/tool/data/golden_gate.hpp

Needed only to make the file anew; the versions that made it are in its head.
"""
import random

import scipy
import statsmodels
from scipy import stats
from statsmodels.stats.multitest import multipletests


def text(values):
    return "{" + ", ".join(repr(float(v)) for v in values) + "}"


def main():
    rng = random.Random(20261126)

    def sample(n, shift=0.0):
        return [round(rng.gauss(shift, 0.03), 5) for _ in range(n)]

    print("// Made by golden_gate.py beside this file; the command is in its head.")
    print(f"// scipy {scipy.__version__}, statsmodels {statsmodels.__version__}")
    print("#pragma once\n\n#include <cstddef>\n#include <vector>\n\nnamespace golden {\n")
    print("struct sign_case {\n  std::vector<double> values;\n  double bound, p;  // scipy.stats.binomtest\n};")
    print("struct rank_case {\n  std::vector<double> a, b;\n  double p;  // scipy.stats.mannwhitneyu, exact\n};")
    print("struct holm_case {\n  std::vector<double> p, adjusted;  // statsmodels multipletests\n};")
    print("struct median_case {\n  std::vector<double> values;\n  double low, high;  // scipy.stats.quantile_test\n};")
    print("struct binomial_case {\n  std::size_t hits, count;\n  double level, low, high;  // scipy.stats.binomtest\n};\n")
    print("inline const std::vector<sign_case> sign_tests{")
    for n in (1, 2, 5, 8, 13, 20, 30, 47, 100):
        for shift in (0.0, 0.04):
            values = sample(n, shift)
            above = sum(v > 0.02 for v in values)
            p = stats.binomtest(above, n, 0.5, alternative="greater").pvalue
            print(f"    {{{text(values)}, 0.02, {float(p)!r}}},")
    print("};\n\ninline const std::vector<rank_case> rank_tests{")
    for n, m in ((1, 1), (2, 3), (3, 3), (4, 6), (6, 6), (8, 8), (10, 7), (12, 12), (20, 20)):
        for shift in (0.0, 0.04):
            a, b = sample(n), sample(m, shift)
            assert len(set(a + b)) == n + m  # no ties: scipy's exact method has no correction for them
            p = stats.mannwhitneyu(b, a, alternative="greater", method="exact").pvalue
            print(f"    {{{text(a)}, {text(b)}, {float(p)!r}}},")
    print("};\n\ninline const std::vector<holm_case> holms{")
    for n in (1, 2, 5, 42):
        p = [round(rng.random() ** 4, 6) for _ in range(n)]
        print(f"    {{{text(p)}, {text(multipletests(p, method='holm')[1])}}},")
    print("    {{0.01, 0.01, 0.04, 0.03, 0.005}, " + text(multipletests([0.01, 0.01, 0.04, 0.03, 0.005], method="holm")[1]) + "},")
    print("};\n\ninline const std::vector<median_case> medians{")
    for n in (6, 8, 12, 30, 47, 100):
        values = sample(n)
        ci = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
        print(f"    {{{text(values)}, {float(ci.low)!r}, {float(ci.high)!r}}},")
    print("};\n\ninline const std::vector<binomial_case> binomials{")
    for hits, count, level in ((0, 10, 0.95), (1, 10, 0.95), (10, 10, 0.95), (3, 20, 0.9), (0, 300, 0.95), (2, 300, 0.95),
                               (297, 300, 0.99), (17, 1000, 0.95), (1999, 2000, 0.95)):
        ci = stats.binomtest(hits, count).proportion_ci(level, method="exact")
        print(f"    {{{hits}, {count}, {level}, {float(ci.low)!r}, {float(ci.high)!r}}},")
    print("};\n\n}  // namespace golden")


main()

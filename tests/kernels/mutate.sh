#!/usr/bin/env bash
# Proves the kernel tests: each line below breaks one kernel in one place (a flipped sign, a dropped bias,
# tanh for erf, ...), and the named test must fail. A change that no longer applies fails, too.
# usage: mutate.sh SOURCE_DIR BUILD_DIR COMPILER [WORD]   (WORD: only lines that hold it)
set -euo pipefail
source_dir=$1 build_dir=$2 compiler=$3 only=${4:-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# test | file | sed script
mutants() {
    cat <<'LIST'
products|matmul|s/const int64_t a_step = a.batch == 1 ? 0 :/const int64_t a_step = a.batch == 1 ? 1 :/
products|matmul|s/at->alpha,/-at->alpha,/
products|linear|s/if (bias) {/if (bias \&\& C == 0) {/
products|linear|s/bias ? 1.0f : at->beta/at->beta/
products|linear|s/slabs\[s \* D + d\] +=/slabs[s * D + d] -=/
products|linear|s/slab_begin(N, s + 1)/slab_begin(N, s + 1) - 1/
products|conv2d|s/+ r - g->top;/+ r + g->top;/
products|conv2d|s/+ s - g->left;/+ s;/
products|conv2d|s/h + g->top - r, p/h + g->top + r, p/
products|conv2d|s/ || ph % g->stride || qv % g->stride//
products|conv2d|s/to\[c\] += rows\[c\]/to[c] = -rows[c]/
products|conv2d|s/p\[(c \* area + a) \* g->D + d\] =/p[(c * area + area - 1 - a) * g->D + d] =/
products|conv2d|s/bias_rows(y + begin \* D, bias, M, D, beta)/scale_in_place(y + begin * D, M * D, beta)/
products|conv2d|s/g.D, K, K,   1.0f, 1.0f };/g.D, K, K, 1.0f, 0.0f };/
products|depthwise|s/flip ? area - 1 - a : a/a/
products|depthwise|s/r - g->k \/ 2, dv/r + 1 - g->k \/ 2, dv/
products|depthwise|s/bias ? row : 0/0/
norms|layernorm|s/+ (b ? b\[c\] : 0.0f)//
norms|layernorm|s/squares \/ (double)C/squares \/ (double)(C - 1)/
norms|layernorm|s/- u \* dot \/ (double)C/+ u * dot \/ (double)C/
norms|layernorm|s/g - sum \/ (double)C/g/
norms|layernorm|s/db\[c\] += g;/db[c] -= g;/
norms|rmsnorm|s/+ (double)at->eps//
norms|rmsnorm|s/- u \* dot/+ u * dot/
norms|rmsnorm|s/xn\[c\] \* r \* w\[c\] : xn\[c\] \* r/xn[c] * w[c] : xn[c] * r/
norms|groupnorm|s/silu ? u \/ (1.0f + expf(-u)) : u/u/
norms|groupnorm|s/(1.0 + u \* (1.0 - s))/(1.0 - u * (1.0 - s))/
norms|groupnorm|s/- xhat \* dot \/ count/+ xhat * dot \/ count/
norms|groupnorm|s/j % G \* z.width, at_x/0, at_x/
pointwise|activation|s/return 0.5f \* x \* (1.0f + erff(x \* 0.70710678118654752f));/return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));/
pointwise|activation|s/expf(-0.5f \* x \* x)/expf(0.5f * x)/
pointwise|activation|s/s \* (1.0f + x \* (1.0f - s))/s * (1.0f - x * (1.0f - s))/
pointwise|activation|s/return x > 0.0f ? 1.0f : 0.0f/return x < 0.0f ? 1.0f : 0.0f/
pointwise|activation|s/blend(dy\[i\] \* silu(ai)/blend(dy[i] * ai/
pointwise|activation|s/blend(g \* gelu(b), dx/blend(-g * gelu(b), dx/
pointwise|add|s/at->alpha \* x\[i\] + at->beta/at->alpha * x[i] - at->beta/
pointwise|add|s/tanhf(\*gate)/\*gate/
pointwise|add|s/1.0 - g \* g/1.0 + g * g/
pointwise|add|s/+ scale\[j \/ P\] \* b\[j\]/+ b[j]/
pointwise|add|s/+ v\[p \/ P \* C + c\]/+ v[c]/
pointwise|add|s/+ table\[t\]/- table[t]/
pointwise|scale|s/+ (b ? b\[c\] : 0.0f)//
pointwise|scale|s/dy\[n \* C + c\] \* g\[c\]/dy[n * C + c]/
pointwise|scale|s/x\[r \* C + c\] \* m\[r\]/x[r * C + c]/
attention|attention|s/i + c->Lk - c->Lq + 1/i + 1/
attention|attention|s/^               c->at->scale);/1.0f);/
attention|attention|s/O\[r \* c->D + d\] \*= shrink/O[r * c->D + d] *= 1.0f/
attention|attention|s/- w->delta\[r\])/+ w->delta[r])/
attention|attention|s/g\[j\] \* keep - w/g[j] - w/
attention|attention|s/return c->first ? max_i64(c->first\[b\], 0) : 0/return 0/
attention|attention|s/top > -INFINITY) {/top > -INFINITY \&\& t->h == 0) {/
attention|attention|s/(h \* c->Lq + i) \* c->Lk + j0/(h * c->Lk + i) * c->Lq + j0/
attention|attention|s/const int64_t n = min_i64(KEYS, hi - j0), kv/const int64_t n = min_i64(KEYS, hi - j0) - (j0 > 0), kv/
attention|rope|s/a \* cosine - b \* sine/a * cosine + b * sine/
attention|rope|s/at->inverse ? -1.0f : 1.0f/1.0f/
attention|rope|s/(float)(2 \* c)/(float)c/
attention|xent|s/v == target ? 1.0 : 0.0/0.0/
attention|xent|s/- (double)x\[target\]/+ (double)x[target]/
attention|xent|s/expf(x\[v\] - top)/expf(x[v])/
mmfs|mmfs|s/v.sum = exp(-v.top)/v.sum = 0.0/
mmfs|mmfs|s/(1.0 - s.fy) \* (dot\[1\] - dot\[0\])/(1.0 - s.fy) * (dot[0] - dot[1])/
mmfs|mmfs|s/(t->dA\[n\] - mean)/t->dA[n]/
mmfs|mmfs|s/\* scale - 0.5;/* scale;/
mmfs|mmfs|s/(float)v->null_weight \* t\[e\] : 0.0f/0.0f : 0.0f/
mmfs|mmfs|s/list = q \/ c->at->queries_per_list/list = q % (c->Q \/ c->at->queries_per_list)/
mmfs|mmfs|s/(c->at->points + 1) + p/(c->at->points) + p/
mmfs|mmfs|s/v->null_weight \* (double)go\[e\] \*/-v->null_weight * (double)go[e] */
mmfs|mmfs|s/(double)off_q\[0\] + (double)off_r\[0\]/(double)off_q[0]/
mmfs|mmfs|s/c->ref + v->q % c->K \* 2/c->ref/
mmfs|mmfs|s/table\[1\] += dy \* scale/table[1] += dy/
moving|copy|s/first + i\], y/i], y/
moving|copy|s/(u >> 16 \& 1)/0/
moving|copy|s/x\[(r \/ B \* A + a) \* B + r % B\]/x[r * A + a]/
moving|gather|s/drows\[index\[m\] \* C + c\] += /drows[index[m] * C + c] = /
moving|gather|s/covered\[n\] ? 0.0f : //
moving|gather|s/blend(a + b, y/blend(a, y/
moving|resize|s/const double a = -0.75/const double a = -0.5/
moving|resize|s/(float)i + 0.5f) - 0.5f/(float)i)/
moving|resize|s/v > 0.0f ?/v > 0.5f ?/
moving|resize|s/a\[c\] + a\[C + c\] + b\[c\] + b\[C + c\]/a[c] + a[C + c]/
moving|pool|s/sums\[i \* z->C + c\] \/ weight/sums[i * z->C + c]/
moving|pool|s/: 1.0) \/ weight/: 1.0)/
moving|pool|s/return sum + 1e-8/return sum/
draws|dropout|s/x\[i \* P + e\] \* keep/x[i * P + e]/
draws|dropout|s/? 0.0f : (float)(1.0/? 1.0f : (float)(1.0/
draws|random|s/at_x % C \* P + at_x \/ C/at_x/
draws|random|s/2.0 \* u - 1.0/u/
draws|sinusoid|s/x_at = n % W/x_at = n \/ W/
draws|sinusoid|s/y\[n \* C + c\] = cosf/y[n * C + c] = sinf/
draws|sinusoid|s/10000.0f, (float)k/1000.0f, (float)k/
draws|ddpm|s/1.0f - beta)/1.0f + beta)/
draws|ddpm|s/row\[3\] \* noise\[j\]/row[2] * noise[j]/
draws|ddpm|s/2.0f \* w \* d \* scale/2.0f * d * scale/
draws|ddpm|s/expf(0.5f \* logvar)/expf(logvar)/
draws|ddpm|s/: 1.0;$/: 0.99;/
draws|ddpm|s/at->c_z \* z\[j\] +/at->c_z * z[j] -/
draws|ddpm|s/, -30.0f), 20.0f)/, -90.0f), 90.0f)/
draws|reduce|s/(r + 1) \* REDUCE_RUN/(r + 1) * REDUCE_RUN - 1/
draws|reduce|s/\*divisor != 0.0f ? total/*divisor != 1.0f ? total/
draws|adamw|s/1.0 - at->lr \* at->weight_decay/1.0 + at->lr * at->weight_decay/
draws|adamw|s/\/ root + at->eps/+ at->eps/
draws|adamw|s/clip ? (double)\*clip : 1.0/1.0/
attention|exp|s/p = p \* r + 0.5f/p = p * r + 0.25f/
LIST
}

# The build's own link line of each test; a mutant goes in front of its libraries.
for test in $(mutants | cut -d '|' -f 1 | sort -u); do
    (cd "$build_dir" && ninja -t commands "tests/test_kernels_$test") | tail -n 1 >"$scratch/$test.link"
done

# One mutant, "test|file|sed script": prints a line, "killed" where its test fails as it should.
judge() {
    IFS='|' read -r test file script <<<"$1"
    own=$(mktemp -d -p "$scratch")
    mutant=$own/$file.c
    if [ "$file" = exp ]; then # a private header: break it in front of its user
        mkdir -p "$own/kernels/cpu"
        sed "$script" "$source_dir/kernels/cpu/exp_private.h" >"$own/kernels/cpu/exp_private.h"
        cp "$source_dir/kernels/cpu/attention.c" "$mutant"
        changed=$own/kernels/cpu/exp_private.h original=$source_dir/kernels/cpu/exp_private.h
    else
        sed "$script" "$source_dir/kernels/cpu/$file.c" >"$mutant"
        changed=$mutant original=$source_dir/kernels/cpu/$file.c
    fi
    cmp -s "$changed" "$original" && { echo "STALE    $file: $script"; return; }
    "$compiler" -std=c17 -O1 -w -fopenmp -ffp-contract=off -D_GNU_SOURCE -I"$own" -I"$source_dir" \
        -c "$mutant" -o "$own/mutant.o" 2>"$own/log" || { echo "BROKEN   $file: $script"; return; }
    link=$(sed "s# -o tests/test_kernels_$test # $own/mutant.o -o $own/mutant #" "$scratch/$test.link")
    (cd "$build_dir" && eval "$link") || { echo "UNLINKED $file: $script"; return; }
    if OMP_NUM_THREADS=1 timeout 60 "$own/mutant" </dev/null >/dev/null 2>&1; then
        echo "SURVIVED $file: $script"
    else
        echo "killed"
    fi
    rm -rf "$own"
}
export -f judge
export scratch source_dir build_dir compiler

mutants | grep -F -- "$only" | tr '\n' '\0' | xargs -0 -r -P "$(nproc)" -n 1 bash -c 'judge "$1"' judge >"$scratch/verdicts"
grep -v '^killed$' "$scratch/verdicts" || true
total=$(wc -l <"$scratch/verdicts") killed=$(grep -c '^killed$' "$scratch/verdicts" || true)
echo "$total mutants, $((total - killed)) not caught"
[ "$total" -gt 0 ] && [ "$killed" -eq "$total" ]

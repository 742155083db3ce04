/* kernels/cuda/products_lt.cu: products by cuBLASLt. What the library has to be told about a product, and the
 * algorithm it advises, are kept by shape. The library is column-major: it computes the transpose,
 * C' = op(B)' op(A)', from the same memory. */
#include <cublasLt.h>

#include "kernels/cuda/products_private.cuh"

enum { PLANS = 1024, PLAN_STEPS = 8, WORKSPACE_BYTES = 32 << 20, ALIGN_MAX = 16 };

struct plan_key {
    int64_t M, N, K, batch, lda, ldb, ldc, step_a, step_b, step_c;
    int32_t trans_a, trans_b, ab_f32, c_f32, bias, align_a, align_b, align_c, deterministic, pad;
};
struct plan {
    struct plan_key key;
    int used, works;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c; /* of the library's A, B, C: our B, A, C */
    cublasLtMatmulAlgo_t algo;
};
struct lt {
    cublasLtHandle_t handle;
    void *workspace;
    struct plan plans[PLANS];
};

static enum status lt_failed(const char *what, cublasStatus_t st, struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_CUDA, "cuBLASLt: %s: %s", what, cublasLtGetStatusName(st));
}

size_t products_version(void)
{
    return cublasLtGetVersion();
}

enum status products_open(void **out, struct error *err)
{
    struct lt *lt = (struct lt *)mem_calloc(1, sizeof *lt);
    *out = lt;
    if (!lt)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: plans of products");
    const cublasStatus_t st = cublasLtCreate(&lt->handle);
    if (st != CUBLAS_STATUS_SUCCESS)
        return lt_failed("open", st, err);
    if (cudaMalloc(&lt->workspace, WORKSPACE_BYTES) != cudaSuccess)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of GPU memory: workspace of products");
    return ST_OK;
}

static void plan_clear(struct plan *p)
{
    if (p->a)
        cublasLtMatrixLayoutDestroy(p->a);
    if (p->b)
        cublasLtMatrixLayoutDestroy(p->b);
    if (p->c)
        cublasLtMatrixLayoutDestroy(p->c);
    if (p->desc)
        cublasLtMatmulDescDestroy(p->desc);
    memset(p, 0, sizeof *p);
}

void products_close(void **ltp)
{
    struct lt *lt = (struct lt *)*ltp;
    if (!lt)
        return;
    for (int i = 0; i < PLANS; i++)
        plan_clear(&lt->plans[i]);
    if (lt->handle)
        cublasLtDestroy(lt->handle);
    cudaFree(lt->workspace);
    mem_free(lt);
    *ltp = NULL;
}

/* The largest power of two, up to ALIGN_MAX, that divides an address and every step from it. */
static int32_t alignment(struct ref r, int64_t ld, int64_t step)
{
    const uint64_t size = r.f32 ? 4 : 2;
    const uint64_t bits = (uint64_t)(uintptr_t)r.data | (uint64_t)ld * size | (uint64_t)step * size;
    int32_t a = ALIGN_MAX;
    while (bits & (uint64_t)(a - 1))
        a /= 2;
    return a;
}

static struct plan_key key_of(const struct kctx *k, const struct product *p)
{
    struct plan_key key;
    memset(&key, 0, sizeof key);
    key.M = p->M;
    key.N = p->N;
    key.K = p->K;
    key.batch = p->batch;
    key.lda = p->lda;
    key.ldb = p->ldb;
    key.ldc = p->ldc;
    key.step_a = p->step_a;
    key.step_b = p->step_b;
    key.step_c = p->step_c;
    key.trans_a = p->trans_a;
    key.trans_b = p->trans_b;
    key.ab_f32 = p->A.f32;
    key.c_f32 = p->C.f32;
    key.bias = p->bias.data != NULL;
    key.align_a = alignment(p->A, p->lda, p->step_a);
    key.align_b = alignment(p->B, p->ldb, p->step_b);
    key.align_c = alignment(p->C, p->ldc, p->step_c);
    key.deterministic = k->deterministic;
    return key;
}

static uint64_t hash_of(const struct plan_key *key)
{
    const unsigned char *bytes = (const unsigned char *)key;
    uint64_t h = 14695981039346656037ull;
    for (size_t i = 0; i < sizeof *key; i++)
        h = (h ^ bytes[i]) * 1099511628211ull;
    return h;
}

static cublasStatus_t make_layout(cublasLtMatrixLayout_t *out, int f32, int64_t rows, int64_t cols,
                                  int64_t ld, int64_t batch, int64_t step)
{
    const int32_t count = (int32_t)batch;
    cublasStatus_t st = cublasLtMatrixLayoutCreate(out, f32 ? CUDA_R_32F : CUDA_R_16BF,
                                                   (uint64_t)rows, (uint64_t)cols, ld);
    if (st == CUBLAS_STATUS_SUCCESS && batch > 1)
        st = cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                              sizeof count);
    if (st == CUBLAS_STATUS_SUCCESS && batch > 1)
        st = cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                              &step, sizeof step);
    return st;
}

static cublasStatus_t describe(struct plan *p)
{
    const struct plan_key *key = &p->key;
    const cublasOperation_t op_a = key->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t op_b = key->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t bias = CUBLASLT_EPILOGUE_BIAS;
    cublasStatus_t st = cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &op_a,
                                            sizeof op_a);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSB, &op_b,
                                            sizeof op_b);
    if (st == CUBLAS_STATUS_SUCCESS && key->bias)
        st = cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &bias,
                                            sizeof bias);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = make_layout(&p->a, key->ab_f32, key->trans_b ? key->K : key->N,
                         key->trans_b ? key->N : key->K, key->ldb, key->batch, key->step_b);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = make_layout(&p->b, key->ab_f32, key->trans_a ? key->M : key->K,
                         key->trans_a ? key->K : key->M, key->lda, key->batch, key->step_a);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = make_layout(&p->c, key->c_f32, key->N, key->M, key->ldc, key->batch, key->step_c);
    return st;
}

static cublasStatus_t prefer(cublasLtMatmulPreference_t pref, const struct plan_key *key)
{
    const uint64_t workspace = WORKSPACE_BYTES;
    const uint32_t align[3] = { (uint32_t)key->align_b, (uint32_t)key->align_a,
                                (uint32_t)key->align_c };
    /* sums split over blocks that add with atomics have no order */
    const uint32_t schemes = key->deterministic ? (uint32_t)CUBLASLT_REDUCTION_SCHEME_NONE
                                                : (uint32_t)CUBLASLT_REDUCTION_SCHEME_MASK;
    const cublasLtMatmulPreferenceAttributes_t names[3] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES
    };
    cublasStatus_t st = cublasLtMatmulPreferenceSetAttribute(
        pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                  &schemes, sizeof schemes);
    for (int i = 0; i < 3 && st == CUBLAS_STATUS_SUCCESS; i++)
        st = cublasLtMatmulPreferenceSetAttribute(pref, names[i], &align[i], sizeof align[i]);
    return st;
}

/* The library's first advice; `works` stays 0 where it has none. */
static enum status choose(struct lt *lt, struct plan *p, struct error *err)
{
    cublasLtMatmulPreference_t pref = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    cublasStatus_t st = describe(p);

    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatmulPreferenceCreate(&pref);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = prefer(pref, &p->key);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatmulAlgoGetHeuristic(lt->handle, p->desc, p->a, p->b, p->c, p->c, pref, 1,
                                            &found, &count);
    if (pref)
        cublasLtMatmulPreferenceDestroy(pref);
    if (st == CUBLAS_STATUS_SUCCESS && count == 1 && found.state == CUBLAS_STATUS_SUCCESS) {
        p->algo = found.algo;
        p->works = 1;
        return ST_OK;
    }
    if (st == CUBLAS_STATUS_SUCCESS || st == CUBLAS_STATUS_NOT_SUPPORTED ||
        st == CUBLAS_STATUS_INVALID_VALUE)
        return ST_OK; /* a product that the library does not take */
    return lt_failed("advice", st, err);
}

/* The plan of a product, made where there is none; an old one gives way in a full row of the table. */
static enum status plan_for(struct plan **out, struct lt *lt, const struct plan_key *key,
                            struct error *err)
{
    const uint64_t first = hash_of(key);
    struct plan *p = NULL;
    for (uint64_t i = 0; i < PLAN_STEPS; i++) {
        p = &lt->plans[(first + i) % PLANS];
        if (p->used && memcmp(&p->key, key, sizeof *key) == 0) {
            *out = p;
            return ST_OK;
        }
        if (!p->used)
            break;
    }
    plan_clear(p);
    p->key = *key;
    *out = p;
    if (choose(lt, p, err) != ST_OK) {
        plan_clear(p);
        return ST_FAIL;
    }
    p->used = 1;
    return ST_OK;
}

enum status product_lt(struct kctx *k, const struct product *p, bool *done, struct error *err)
{
    struct lt *lt = (struct lt *)state_of(k)->lt;
    const struct plan_key key = key_of(k, p);
    struct plan *plan = NULL;

    *done = false;
    if (p->A.f32 != p->B.f32 || (p->A.f32 && !p->C.f32) || p->batch > INT32_MAX)
        return ST_OK;
    if (plan_for(&plan, lt, &key, err) != ST_OK)
        return ST_FAIL;
    if (!plan->works)
        return ST_OK;
    cublasStatus_t st = CUBLAS_STATUS_SUCCESS;
    if (key.bias)
        st = cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                            &p->bias.data, sizeof p->bias.data);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatmul(lt->handle, plan->desc, &p->alpha, p->B.data, plan->a, p->A.data,
                            plan->b, &p->beta, p->C.data, plan->c, p->C.data, plan->c, &plan->algo,
                            lt->workspace, WORKSPACE_BYTES, (cudaStream_t)k->stream);
    if (st != CUBLAS_STATUS_SUCCESS)
        return lt_failed("product", st, err);
    *done = true;
    return ST_OK;
}

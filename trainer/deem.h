/* trainer/deem.h: the whole model as one program per shape. Spans, in the order they run:
 *
 *     tokenise   pictures -> multi-scale features, image tokens, CSR conditions
 *     latents    pictures -> VAE moments -> one draw for each diffusion loss
 *     language   ids and image tokens -> hidden states; head and cross-entropy in chunks, each with its
 *                own backward at once
 *     contexts   hidden states -> NIP conditions; all conditions in one table
 *     picture    repeated: `passes` rows of the table of UNet passes, forward and backward at once
 *     contexts', language', tokenise'   backward of the above
 *
 * NIP and CSR differ in nothing but the rows of the table: latent, noise, t, condition, picture whose
 * features are looked at, weights. Spec model.md 1, 2, 3; design.md 6. */
#ifndef DEEM_TRAINER_DEEM_H
#define DEEM_TRAINER_DEEM_H

#include "trainer/layout.h"
#include "trainer/nn_convnext.h"
#include "trainer/nn_llama.h"
#include "trainer/nn_mmfsnet.h"
#include "trainer/nn_qformer.h"
#include "trainer/nn_unet.h"
#include "trainer/nn_vae.h"
#include "trainer/nn_vistok.h"
#include "trainer/program.h"

struct deem_config {
    int64_t vocab, vocab_published;
    struct layout_ids ids;
    int64_t queries;     /* Q: image slots a picture */
    int64_t decode_side; /* of the pictures of the VAE; latents have side / 8 */
    struct convnext_config trunk;
    struct vistok_config tokenizer; /* holds F, R and Perceiver #1 */
    struct llama_config llm;        /* mmfs.shape is given; the levels are chosen by side */
    struct qformer_config perceiver2;
    struct unet_config unet;
    struct vae_config vae;
    float vae_scale;
    struct mmfsnet_config side_net;
};

/* Sizes everything else follows from. All are capacities but B and L. */
struct deem_shape {
    int64_t B, L;
    int64_t I;       /* pictures; at least 1 */
    int64_t context; /* tokens of the longest context */
    int64_t pairs;   /* visible (token, picture) pairs */
    int64_t passes;  /* U: UNet passes a run of the picture span */
    int64_t wanted;  /* evaluation: tokens whose logits are made */
};

struct deem_options {
    double weight_ntp, weight_nip, weight_csr; /* a term of weight 0 is not evaluated */
    bool nip_valid;            /* L_NIP is the mean over the pictures that count, not over all */
    bool nip_double_normalise; /* NIP's picture is normalised twice, 4x - 3: model.md 5 #2 */
    bool region_masks;         /* pictures come with region masks (stage III, or the user's) */
    bool evaluation;    /* no losses, no backward: logits of wanted tokens, contexts, features */
    bool probes;        /* names and keeps intermediates: reference cases */
    int64_t text_chunk; /* tokens of a chunk of the head; 0: all at once */
};

/* Batch tensors (host writes) and spans of a built program; TENSOR_NONE, -1 where the losses do not
 * need them. */
struct deem {
    struct program *p; /* owned */
    struct deem_config config;
    struct deem_shape shape;
    struct deem_options options;
    /* inputs */
    int image;                        /* [I,3,R,R] in [0,1] */
    int image_dec;                    /* [I,3,Rd,Rd] in [0,1] */
    int mask;                         /* [I,R,R] */
    int clip_scale, clip_shift;       /* [3] */
    int text_ids, positions;          /* [B*L], [B,L] */
    int soi;                          /* [B*L]: 0 where soi_token is added, else -1 */
    int slots;                        /* [I*Q]: token each image token is written to, -1: nowhere */
    struct mmfs_view view;            /* visible pairs; points [1,2] */
    int target, divisor;              /* [B*L], [1] */
    int context_index, context_count; /* [I*context], [I] */
    int vae_eps[2];                   /* [I,k,k,4]: of NIP, of CSR (enum deem_loss) */
    struct {
        int latent, noise, t, condition, feature, mask; /* rows of tables, [U]; noise [U,k,k,4] */
        int begin, image, rank;                         /* which of the U feature rows it sees */
        int weight, scale;                              /* [U,k,k], [U] */
    } pass;
    /* results */
    int token_loss[64]; /* of each chunk */
    int n_chunks;
    int pass_sum;    /* [U]: weighted squared error of each pass */
    int hidden, ctx; /* h, and what Perceiver #2 made of it */
    /* evaluation: first real token of each row [B]; tokens [wanted]; their logits [wanted,V];
     * features [I,S,F] of all levels; CSR's conditions [I,Q,F] */
    int first, wanted, logits, features, dif_embed;
    /* spans, indices into p->spans; -1 where absent */
    int tokenise, latents, language, contexts, picture, backward;
    int evaluate; /* evaluation: all behind the pictures, to be run again for other ids */
};

enum deem_loss { DEEM_NIP, DEEM_CSR };

/* Says every size that cannot work with another, by the names of case.json. */
void deem_check(const struct deem_config *config, const struct deem_options *options,
                struct findings *f);
/* Keeps a copy of the configuration with what follows from it: the levels of both MMFS. ST_FAIL:
 * CAUSE_ARG (what deem_check finds, or a fault of the program), CAUSE_NOMEM. */
enum status deem_open(struct deem **out, const struct deem_config *config,
                      const struct deem_shape *shape, const struct deem_options *options,
                      struct params *params, struct error *err);
void deem_close(struct deem **m);
/* Declares every parameter and table of the composite model (model.md 2.9), also those no loss of the
 * stage reaches, so that checkpoints carry them on. Stage III has no diffusion modules. */
enum status deem_declare(const struct deem_config *config, bool diffusion, struct params *params,
                         struct error *err);
/* Computes the tables (position embeddings, CLIP's mean and deviation) into allocated buffers. */
enum status deem_fill_tables(const struct deem_config *config, struct params *params,
                             struct error *err);

/* Rows of the tables. */
static inline int64_t deem_latent_side(const struct deem_config *c)
{
    return c->decode_side / 8;
}
/* Latent of picture i for a loss. */
static inline int64_t deem_latent_row(const struct deem_shape *s, enum deem_loss loss, int64_t i)
{
    return (loss == DEEM_CSR ? s->I : 0) + i;
}
/* Condition of picture i: its context, or neg_prompt_embeds where dropped; CSR's own tokens. */
int64_t deem_condition_row(const struct deem *m, enum deem_loss loss, int64_t i, bool dropped);
int64_t deem_feature_rows(const struct deem_config *c); /* S of all four levels */

#endif

/* trainer/recipe.h: what a run is, from a YAML file and --set assignments. One table (recipe_settings)
 * defines every key with type, default, range and source; the field names below are the keys. */
#ifndef DEEM_TRAINER_RECIPE_H
#define DEEM_TRAINER_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/yaml.h"

enum recipe_stage { STAGE_1, STAGE_2, STAGE_3, STAGE_BASELINE };
enum recipe_order { ORDER_PERMUTATION, ORDER_BLOCK };
enum recipe_mixing { MIXING_STRATIFIED, MIXING_IID };
enum recipe_geometry { GEOMETRY_CROP, GEOMETRY_SQUASH };
enum recipe_groups { GROUPS_PAPER, GROUPS_RELEASED };
enum recipe_csr_t { CSR_REMAP, CSR_UNIFORM };
enum recipe_nip_norm { NIP_ALL, NIP_VALID };
enum recipe_nonfinite { NONFINITE_STOP, NONFINITE_SKIP };
enum recipe_trains { TRAINS_BY_STAGE, TRAINS_YES, TRAINS_NO };
enum recipe_damaged { DAMAGED_STOP, DAMAGED_SKIP };

/* One source of training sequences. */
struct recipe_source {
    const char *name;
    const char *const *datasets; /* folders, in list order */
    size_t n_datasets;
    int64_t weight;
};

/* Sizes of the model; spec model.md 1 and 2, defaults are the real ones. */
struct recipe_model {
    int64_t vocab; /* rows of the tables, base + new ids */
    int64_t vocab_base;
    int64_t feature_width, pos_grid;
    struct setting_ints convnext_depths, convnext_dims;
    int64_t llm_hidden, llm_heads, llm_ffn, llm_layers, llm_cross_every;
    double llm_rms_eps, llm_rope_base;
    int64_t mmfs_heads, mmfs_points, mmfs_inner, mmfs_base, mmfs_max_images;
    int64_t perceiver1_hidden, perceiver1_heads, perceiver1_layers, perceiver1_cross_every,
        perceiver1_ffn;
    int64_t perceiver2_hidden, perceiver2_heads, perceiver2_layers, perceiver2_cross_every,
        perceiver2_ffn;
    struct setting_ints unet_widths, unet_heads;
    int64_t unet_resnets, unet_groups;
    struct setting_ints vae_widths;
    int64_t vae_resnets, vae_groups;
    double vae_scale;
    int64_t net_heads, net_points, net_inner, net_grid, net_max_images;
    struct setting_ints net_shapes, net_bases;
    int64_t mask_side;
    bool mask_align;
};

struct recipe {
    int stage; /* enum recipe_stage */
    const char *out;
    int64_t seed;
    int64_t steps, warmup;
    int64_t seq_len, image_tokens;
    struct recipe_source *sources; /* in recipe order */
    size_t n_sources;
    int mixing, order;      /* enum recipe_mixing, recipe_order */
    int damaged;            /* enum recipe_damaged */
    uint64_t loader_memory; /* bytes */
    int64_t loader_threads; /* 0: all cores */
    int64_t batch_global, batch_micro;
    int64_t batch_images;   /* pictures of the micro-batch that a dry run plans; 0: by stage */
    int64_t batch_pictures; /* UNet passes that run at once */
    int64_t image_side, decode_side;
    int geometry;
    bool flip, fast_decode;
    const char *init_checkpoint, *init_llm, *init_convnext, *init_diffusion; /* "" = none */
    int train_trunk, train_llm, train_unet, train_head; /* enum recipe_trains */
    double loss_txt, loss_img, loss_sniffer;
    int csr_t, nip_norm; /* enum recipe_csr_t, recipe_nip_norm */
    bool nip_double_normalise;
    bool mmfs_scale_actual;
    double uncond_prob, dropout, drop_path;
    double lr_scale; /* multiplies every rate */
    int groups;
    double lr, lr_trunk, lr_offsets, lr_mmfsnet, lr_llm, lr_cross, lr_unet;
    double beta1, beta2, eps, weight_decay, clip_norm;
    int64_t checkpoint_every, checkpoint_keep, pictures_every;
    int nonfinite;
    double collective_seconds;
    double peak_flops; /* of one rank, FLOP/s; 0: measured at the start */
    struct recipe_model model;

    struct yaml yaml; /* as read, for printing and comparing; owns the texts above */
};

/* Weights of the diffusion losses in the recipe's stage; 0: not evaluated (model.md 3.4). */
double recipe_weight_nip(const struct recipe *r);
double recipe_weight_csr(const struct recipe *r);

/* The table and its size: for `deem train --help-recipe` and for tests. */
const struct setting *recipe_settings(size_t *count);

/* Reads `path`, applies the assignments ("key=value") in order, checks every key and what they must
 * be together (batch.micro divides batch.global, warm-up within steps, sources with datasets, ...).
 * ST_FAIL: CAUSE_ARG naming file and line, all faults in one text; CAUSE_IO, CAUSE_NOMEM. */
enum status recipe_open(struct recipe **out, const char *path, const char *const *assignments,
                        size_t n_assignments, struct error *err);
void recipe_close(struct recipe **r);
/* The effective recipe as YAML; reads back to the same. */
enum status recipe_print(struct buffer *out, const struct recipe *r, bool help, struct error *err);
/* Lines "key: was, here is" of what differs and changes numbers; paths, threads and how often things
 * are written may differ. `allowed` keys are left out. ST_FAIL: CAUSE_ARG (an allowed key that there is not),
 * CAUSE_NOMEM. */
enum status recipe_differences(struct buffer *out, size_t *count, const struct recipe *saved,
                               const struct recipe *now, const char *const *allowed,
                               size_t n_allowed, struct error *err);
int64_t recipe_micro_batches(const struct recipe *r); /* of one step */

#endif

/* ingest/instruct.h: instruction sets of stages II and III (spec data.md 1.9, 1.10, 7) become a dataset
 * through the same driver, writer and folder as web data. One instance is one sequence; nothing is
 * packed. Answers are trained, prompts are not, by construction. */
#ifndef DEEM_INGEST_INSTRUCT_H
#define DEEM_INGEST_INSTRUCT_H

#include "ingest/ingest.h"

enum instruct_set {
    INSTRUCT_LLAVA,
    INSTRUCT_VQAV2,
    INSTRUCT_OKVQA,
    INSTRUCT_TEXTVQA,
    INSTRUCT_AOKVQA,
    INSTRUCT_OCRVQA,
    INSTRUCT_GQA,
    INSTRUCT_COCO_CAPTION,
    INSTRUCT_TEXTCAPS,
    INSTRUCT_MASK_TEXT,
    INSTRUCT_SETS
};
/* "llava", "vqav2", ..., NULL-terminated. */
extern const char *const instruct_set_names[INSTRUCT_SETS + 1];

struct instruct_options {
    struct ingest_options base; /* out, tokenizer, inputs = annotations, images, piece, jobs, ... */
    enum instruct_set set;
    bool deem;                  /* profile: the authors' strings and masks */
    bool raw_answer;            /* okvqa: raw_answer instead of the stemmed answer */
    bool multi_round;           /* llava: all rounds of a record in one sequence */
    uint64_t max_instances;     /* records of the set that stay, by D11; 0 = all */
    bool paper800k;             /* max_instances by the set's share of 800,000 */
    const char *exclude;        /* file of pictures that are left out, or NULL */
    const char *const *compare; /* files of pictures whose overlap is reported */
    size_t compare_count;
    const char *templates;      /* instruct.json; NULL: the one that came with the program */
    const char *mask_templates; /* mask_text.json; NULL likewise */
};
void instruct_options_init(struct instruct_options *opt);
/* As ingest_run. */
enum status instruct_run(struct ingest_report *report, const struct instruct_options *opt,
                         struct error *err);

#endif

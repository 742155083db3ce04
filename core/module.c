/* core/module.c: see module.h. */
#include "core/module.h"

#include <dlfcn.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"

void *module_load(const char *name, bool global)
{
    char program[4096];
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    const int flags = RTLD_NOW | (global ? RTLD_GLOBAL : RTLD_LOCAL);
    char *folder = NULL, *path = NULL;
    void *module = NULL;

    if (n > 0) {
        program[n] = '\0';
        folder = path_folder(program);
    }
    if (folder)
        path = path_join(folder, name);
    /* one that is there and does not load says more than the search for another */
    module = dlopen(path && file_exists(path) ? path : name, flags);
    mem_free(folder);
    mem_free(path);
    return module;
}

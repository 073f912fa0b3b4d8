/* An external delegate that stands in for an accelerator: it claims operators, fills their outputs and burns time.

   The structures are the beginning of TFLite's C API (tensorflow/lite/core/c/common.h), which is what a delegate's
   library and a runtime must agree on. What is behind the fields named here is never touched.

   Options: claim=NAME (a custom operator; the default is Google's) or claim=all; fill=BYTE; first=ROUNDS and
   later=ROUNDS of busy work in the first and in each later inference; device=TEXT; refuse=TEXT (creation fails with
   this text); fail=prepare, invoke or crash.

   Built with -DWITHOUT_DESTROY it lacks an entry point; with -DOTHER_ABI the fields lie elsewhere, as in a library built
   for another runtime; with -DRUNTIME=N it says, as Google's library does, that it is Edge TPU runtime N. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int Status; /* 0 is well, 1 an error, 2 an error of the delegate */

typedef struct {
  int size;
  int data[];
} IntArray;

typedef struct {
  int type;
  void *data;
  IntArray *dims;
  float scale;
  int32_t zero_point;
  int allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  void *delegate;
  int buffer_handle;
  bool data_is_stale;
  bool is_variable;
  int quantization_type;
  void *quantization;
  void *sparsity;
  const IntArray *dims_signature;
} Tensor;

typedef struct {
  IntArray *inputs;
  IntArray *outputs;
  IntArray *intermediates;
  IntArray *temporaries;
  void *user_data;
} Node;

typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  Status (*prepare)(Context *, Node *);
  Status (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *later_fields[4]; /* of newer versions, all unused here */
} Registration;

struct Context {
  size_t tensors_size;
  Status (*get_execution_plan)(Context *, IntArray **);
  Tensor *tensors;
  void *impl;
  Status (*resize_tensor)(Context *, Tensor *, IntArray *);
  void (*report_error)(Context *, const char *, ...);
  Status (*add_tensors)(Context *, int, int *);
  Status (*get_node_and_registration)(Context *, int, Node **, Registration **);
  Status (*replace_nodes)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
#ifdef OTHER_ABI
  int64_t other[7]; /* where the runtime looks for what is behind */
#endif
  void *data;
  Status (*prepare)(Context *, Delegate *);
  void *copy_from_buffer;
  void *copy_to_buffer;
  void *free_buffer;
  int64_t flags;
  void *opaque_builder;
};

typedef struct {
  Delegate base;
  char claim[64];
  char fail[16];
  int fill;
  long first, later, invocations;
} StandIn;

typedef struct {
  StandIn *owner;
  int count;
  int outputs[];
} Kernel;

typedef struct {
  Delegate *delegate;
  IntArray *nodes;
  IntArray *inputs;
  IntArray *outputs;
} Params;

static volatile uint64_t sink;

static void burn(long rounds) {
  for (long round = 0; round < rounds; round++) sink = sink * 6364136223846793005u + 1442695040888963407u;
}

static void *kernel_init(Context *context, const char *buffer, size_t length) {
  const Params *params = (const Params *)buffer;
  Kernel *kernel = malloc(sizeof *kernel + (size_t)params->outputs->size * sizeof(int));
  kernel->owner = (StandIn *)params->delegate;
  kernel->count = params->outputs->size;
  memcpy(kernel->outputs, params->outputs->data, (size_t)kernel->count * sizeof(int));
  return kernel;
}

static void kernel_free(Context *context, void *kernel) { free(kernel); }

static Status kernel_prepare(Context *context, Node *node) { return 0; }

static Status kernel_invoke(Context *context, Node *node) {
  Kernel *kernel = node->user_data;
  StandIn *owner = kernel->owner;
  if (!strcmp(owner->fail, "crash")) *(volatile int *)0 = 1;
  if (!strcmp(owner->fail, "invoke")) {
    context->report_error(context, "the stand-in was told to fail");
    return 1;
  }
  for (int i = 0; i < kernel->count; i++) {
    Tensor *tensor = &context->tensors[kernel->outputs[i]];
    memset(tensor->data, owner->fill, tensor->bytes);
  }
  burn(owner->invocations++ ? owner->later : owner->first);
  return 0;
}

static Status delegate_prepare(Context *context, Delegate *delegate) {
  StandIn *own = (StandIn *)delegate;
  IntArray *plan = NULL;
  if (!strcmp(own->fail, "prepare")) {
    context->report_error(context, "the stand-in cannot prepare");
    return 1;
  }
  if (context->get_execution_plan(context, &plan)) return 1;
  IntArray *nodes = malloc(sizeof *nodes + (size_t)plan->size * sizeof(int));
  nodes->size = 0;
  for (int i = 0; i < plan->size; i++) {
    Node *node;
    Registration *found;
    if (context->get_node_and_registration(context, plan->data[i], &node, &found)) return 1;
    bool custom = found->custom_name && !strcmp(found->custom_name, own->claim);
    if (custom || !strcmp(own->claim, "all")) nodes->data[nodes->size++] = plan->data[i];
  }
  Registration mine = {.init = kernel_init, .free = kernel_free, .prepare = kernel_prepare, .invoke = kernel_invoke,
                       .custom_name = "StandInDelegate", .version = 1};
  Status status = nodes->size ? context->replace_nodes(context, mine, nodes, delegate) : 0;
  free(nodes);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  StandIn *own = calloc(1, sizeof *own);
  strcpy(own->claim, "edgetpu-custom-op");
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(keys[i], "claim")) strncpy(own->claim, values[i], sizeof own->claim - 1);
    else if (!strcmp(keys[i], "fail")) strncpy(own->fail, values[i], sizeof own->fail - 1);
    else if (!strcmp(keys[i], "fill")) own->fill = atoi(values[i]);
    else if (!strcmp(keys[i], "first")) own->first = atol(values[i]);
    else if (!strcmp(keys[i], "later")) own->later = atol(values[i]);
    else if (!strcmp(keys[i], "device")) own->fill += values[i][strlen(values[i]) - 1] - '0';
    else {
      report(strcmp(keys[i], "refuse") ? "the stand-in has no option of that name" : values[i]);
      free(own);
      return NULL;
    }
  }
  own->base.prepare = delegate_prepare;
#ifdef OTHER_ABI
  own->base.other[1] = 16; /* the runtime calls this */
  own->base.other[5] = 1;
#endif
  own->base.flags = 1; /* AllowDynamicTensors: without it the runtime first prepares all operators, also unknown ones */
  return &own->base;
}

#ifdef RUNTIME
#define TEXT(number) #number
#define VERSION(number) "BuildLabel(COMPILER=none,CL_NUMBER=0), RuntimeVersion(" TEXT(number) ")"
const char *edgetpu_version(void) { return VERSION(RUNTIME); }
#endif

#ifndef WITHOUT_DESTROY
void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
#endif

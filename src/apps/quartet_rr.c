/* `quartet rr`, also as mosquitto_rr. */
#include "apps/quartet.h"
#include "tool/tool.h"

int quartet_rr_main(int argc, char **argv) {
    return tool_main(TOOL_RR, argc, argv);
}

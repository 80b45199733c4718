/* The verbs of `quartet`: each takes the arguments after `quartet`, its own name first, and returns an exit status. */
#pragma once

int quartet_bench_main(int argc, char **argv);
int quartet_ctl_main(int argc, char **argv);
int quartet_explain_main(int argc, char **argv);
int quartet_pub_main(int argc, char **argv);
int quartet_rr_main(int argc, char **argv);
int quartet_sim_main(int argc, char **argv);
int quartet_store_main(int argc, char **argv);
int quartet_sub_main(int argc, char **argv);
int quartet_torture_main(int argc, char **argv);

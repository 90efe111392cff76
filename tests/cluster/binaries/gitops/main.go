// The health of an object, as GitOps tools evaluate it with the same libraries:
//
//	gitops kstatus          kstatus, of Helm and Flux
//	gitops cel EXPRESSION   an expression of Flux' healthCheckExprs
//	gitops lua SCRIPT       a health check of Argo CD
//
// It reads the object from stdin and writes the answer to stdout, both as JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

func main() {
	object := &unstructured.Unstructured{}
	content, err := os.ReadFile("/dev/stdin")
	must(err)
	must(object.UnmarshalJSON(content))
	var answer any
	switch os.Args[1] {
	case "kstatus":
		answer = kstatus(object)
	case "cel":
		answer = evaluated(os.Args[2], object)
	case "lua":
		answer = run(os.Args[2], object)
	}
	must(json.NewEncoder(os.Stdout).Encode(answer))
}

func kstatus(object *unstructured.Unstructured) map[string]any {
	result, err := status.Compute(object)
	must(err)
	return map[string]any{"status": result.Status, "message": result.Message}
}

// The environment has what the documentation of Flux lists.
func evaluated(expression string, object *unstructured.Unstructured) any {
	environment, err := cel.NewEnv(
		cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders(),
	)
	must(err)
	parsed, issues := environment.Parse(expression)
	must(issues.Err())
	program, err := environment.Program(parsed)
	must(err)
	value, _, err := program.Eval(object.Object)
	must(err)
	return value.Value()
}

func run(script string, object *unstructured.Unstructured) any {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, open := range []lua.LGFunction{lua.OpenBase, lua.OpenTable, lua.OpenString} {
		state.Push(state.NewFunction(open))
		must(state.PCall(0, 0, nil))
	}
	content, err := object.MarshalJSON()
	must(err)
	decoded, err := luajson.Decode(state, content)
	must(err)
	state.SetGlobal("obj", decoded)
	must(state.DoString(script))
	answer, err := luajson.Encode(state.Get(-1))
	must(err)
	return json.RawMessage(answer)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

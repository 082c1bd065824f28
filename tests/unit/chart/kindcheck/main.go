// kindcheck reads a cluster's file from its standard input into kind's own types, strictly: a name
// that kind does not know is an error. It prints the ports that reach the node.
package main

import (
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

func main() {
	decoder := yaml.NewDecoder(os.Stdin)
	decoder.KnownFields(true)
	var cluster v1alpha4.Cluster
	if err := decoder.Decode(&cluster); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	v1alpha4.SetDefaultsCluster(&cluster)
	fmt.Println(cluster.APIVersion, cluster.Kind, cluster.Name)
	for _, node := range cluster.Nodes {
		for _, port := range node.ExtraPortMappings {
			fmt.Printf("%s %s:%d -> %d %s\n", node.Role, port.ListenAddress, port.HostPort, port.ContainerPort, port.Protocol)
		}
	}
}
